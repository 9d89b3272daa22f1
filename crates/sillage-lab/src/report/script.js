(function () {
  var root = document.documentElement;
  var theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", function () {
    var dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });
  var filter = document.getElementById("filter");
  filter.hidden = false;
  filter.addEventListener("click", function (event) {
    var chosen = event.target.closest("button");
    if (!chosen) return;
    filter.querySelectorAll("button").forEach(function (button) {
      button.setAttribute("aria-pressed", String(button === chosen));
    });
    document.querySelectorAll(".claims tbody").forEach(function (group) {
      var any = false;
      group.querySelectorAll("tr[data-verdict]").forEach(function (row) {
        var show = !chosen.dataset.show || row.dataset.verdict === chosen.dataset.show;
        row.hidden = !show;
        any = any || show;
      });
      group.hidden = !any;
    });
  });
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (details) {
      details.open = true;
    });
  });
})();
