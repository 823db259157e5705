// What scrolls sideways is reached by keyboard.
document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset__table, .md-typeset pre > code").forEach((box) => {
  box.tabIndex = 0;
});
