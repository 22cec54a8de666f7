"use strict";
// One sound at a time; space plays and pauses the one used last, at first the first of the page.
let latestSound = null;
document.addEventListener("play", (event) => {
  latestSound = event.target;
  for (const other of document.querySelectorAll("audio")) if (other !== latestSound) other.pause();
}, true);
document.addEventListener("keydown", (event) => {
  const audio = latestSound && latestSound.isConnected ? latestSound : document.querySelector("audio");
  if (event.key !== " " || !audio || ["INPUT", "TEXTAREA", "BUTTON", "AUDIO"].includes(event.target.tagName)) return;
  event.preventDefault();
  if (audio.paused) audio.play(); else audio.pause();
});
