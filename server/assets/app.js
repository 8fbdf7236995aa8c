// Makes the page of a run live: every event of its journal fetches the changing part anew.
// Pages work without this file; they then reload themselves until the run has ended.
(() => {
  const live = document.querySelector("[data-live]");
  if (live && live.dataset.ended !== "true") {
    const source = new EventSource(live.dataset.live + "/events");
    const said = document.querySelector("[data-said]");
    let busy = false;
    let again = false;
    const refresh = async () => {
      if (busy) { again = true; return; }
      busy = true;
      try {
        const answer = await fetch(live.dataset.live + "/live", { headers: { accept: "text/html" } });
        // A reason that is being typed must not be lost.
        const typing = live.contains(document.activeElement) && document.activeElement.name === "reason";
        // The session has ended: the page itself leads to the sign-in.
        if (answer.redirected) { source.close(); location.reload(); return; }
        if (!answer.ok || typing) return;
        const open = [...live.querySelectorAll("details")].map((box) => box.open);
        live.innerHTML = await answer.text();
        live.querySelectorAll("details").forEach((box, at) => { box.open = open[at] ?? false; });
        if (said) said.textContent = live.querySelector("[data-state]")?.textContent ?? "";
      } finally {
        busy = false;
        if (again) { again = false; refresh(); }
      }
    };
    for (const kind of ["plan.made", "call.started", "approval.requested", "approval.decided", "call.finished", "call.failed", "run.asked", "run.refused", "run.answered", "run.failed", "run.cancelled"]) {
      source.addEventListener(kind, refresh);
    }
    source.addEventListener("end", () => { source.close(); refresh(); });
  }
  const box = document.querySelector("textarea[name=request]");
  if (box) {
    for (const button of document.querySelectorAll("[data-example]")) {
      button.addEventListener("click", (event) => {
        event.preventDefault();
        box.value = button.value;
        box.focus();
      });
    }
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) box.form.requestSubmit();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !event.target.closest("input, textarea, select")) { event.preventDefault(); box.focus(); }
    });
  }
  const asks = [...document.querySelectorAll("[data-approval]")];
  if (asks.length > 1) {
    const keys = document.querySelector("[data-keys]");
    if (keys) keys.hidden = false;
    let at = -1;
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const box = asks[at]?.querySelector("input[type=checkbox]");
      if (event.target.closest("input:not([type=checkbox]), textarea, select, button, a")) return;
      if (event.key === "j" || event.key === "k") {
        at = Math.min(Math.max(at + (event.key === "j" ? 1 : -1), 0), asks.length - 1);
        asks[at].scrollIntoView({ block: "nearest" });
        asks[at].querySelector("input[type=checkbox]")?.focus();
      } else if (event.key === "x" && box) {
        box.checked = !box.checked;
      } else if (event.key === "Enter" && at >= 0) {
        event.preventDefault();
        asks[at].querySelector("a[href]")?.click();
      }
    });
  }
})();
