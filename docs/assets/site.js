// What scrolls sideways is reached by keyboard, and the search says its name.
const reach = () => {
  document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach((box) => {
    if (box.tabIndex !== 0) box.tabIndex = 0; // to set it again would be another change
  });
};
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
// The theme takes the index from code that a wider window shows whole.
const changes = { attributeFilter: ["tabindex"], childList: true, subtree: true };
new MutationObserver(reach).observe(document.body, changes);
reach();
