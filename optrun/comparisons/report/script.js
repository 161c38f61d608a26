"use strict";
// A click on an entry of a legend hides its series in that figure, another shows it again.
for (const button of document.querySelectorAll(".legend button")) {
  button.addEventListener("click", () => {
    const shown = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!shown));
    for (const part of button.closest("figure").querySelectorAll(".series-" + button.dataset.series)) {
      part.classList.toggle("hidden", shown);
    }
  });
}
// What is folded in stands on paper all the same.
const folded = [...document.querySelectorAll("details:not([open])")];
addEventListener("beforeprint", () => folded.forEach((each) => { each.open = true; }));
addEventListener("afterprint", () => folded.forEach((each) => { each.open = false; }));
