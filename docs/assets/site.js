// What scrolls sideways is reached by keyboard, and the search says its name.
const reach = () => {
  document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach((box) => {
    box.tabIndex = 0;
  });
};
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
new MutationObserver(reach).observe(document.body, { childList: true, subtree: true });
reach();
