const boxes = document.querySelectorAll("input.reveal");
const sync = (box) => { box.parentElement.querySelector(".texts").inert = !box.checked; };
for (const box of boxes) { sync(box); box.addEventListener("change", () => sync(box)); }
const all = document.getElementById("show-all");
if (all) {
  all.hidden = false;
  all.addEventListener("click", () => {
    const show = all.getAttribute("aria-pressed") !== "true";
    all.setAttribute("aria-pressed", String(show));
    for (const box of boxes) { box.checked = show; sync(box); }
  });
}
