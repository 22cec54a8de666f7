"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [sound, roll, whole, place, zoom, bar, under] =
  ["sound", "roll", "whole", "place", "zoom", "goto", "under"].map((id) => document.getElementById(id));

const LANE = 46;            // px, names of the pitches
const RULER = 22;           // px, numbers of the bars
const LEAD = 0.25;          // of the width, where the playhead stands
const NOTE = [0, 114, 178], SOUNDING = "#D55E00", BAR = "#888", BEAT = "#e5e5e5", INK = "#222";

const pitches = data.notes.map((note) => note[2]);
const low = pitches.reduce((a, b) => Math.min(a, b), 127) - 2;
const high = pitches.reduce((a, b) => Math.max(a, b), 0) + 2;
let kept = null;
const longest = data.notes.reduce((most, note) => Math.max(most, note[1] - note[0]), 0);

// First row of a list sorted by its first column that begins after `time`.
function after(rows, time) {
  let from = 0, to = rows.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (rows[middle][0] > time) to = middle; else from = middle + 1;
  }
  return from;
}

function shown() { return Math.exp(zoom.value); }

function clear(canvas) {
  const scale = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
  canvas.width = width * scale;
  canvas.height = height * scale;
  const draw = canvas.getContext("2d");
  draw.scale(scale, scale);
  draw.font = "12px system-ui, sans-serif";
  return [draw, width, height];
}

function view() {
  const { width, height } = roll.getBoundingClientRect(), span = shown(), step = (width - LANE) / span;
  const start = sound.currentTime - LEAD * span;
  return {
    width, height, start, step, stop: start + span,
    x: (time) => LANE + (time - start) * step,
    y: (pitch) => RULER + (high - pitch) / (high - low + 1) * (height - RULER),
    row: (height - RULER) / (high - low + 1),
  };
}

function drawGrid(draw, v) {
  for (let pitch = low; pitch <= high; pitch++) {
    draw.fillStyle = [1, 3, 6, 8, 10].includes(pitch % 12) ? "#f6f6f6" : "#fff";
    draw.fillRect(LANE, v.y(pitch), v.width, v.row);
  }
  for (const [rows, colour] of [[data.beats, BEAT], [data.bars, BAR]]) {
    draw.fillStyle = colour;
    for (let i = after(rows, v.start); i < rows.length && rows[i][0] < v.stop; i++)
      draw.fillRect(v.x(rows[i][0]), RULER, 1, v.height);
  }
  draw.fillStyle = INK;
  let free = 0;
  for (let i = after(data.bars, v.start); i < data.bars.length && data.bars[i][0] < v.stop; i++) {
    const x = v.x(data.bars[i][0]);
    if (x < free) continue;
    draw.fillText(data.bars[i][1], x + 2, RULER - 7);
    free = x + 30;
  }
}

function drawNotes(draw, v) {
  const now = sound.currentTime;
  for (let i = after(data.notes, v.start - longest); i < data.notes.length && data.notes[i][0] < v.stop; i++) {
    const [onset, offset, pitch, confidence] = data.notes[i], sounding = onset <= now && now < offset;
    draw.fillStyle = sounding ? SOUNDING : `rgba(${NOTE}, ${0.25 + 0.75 * confidence})`;
    draw.fillRect(v.x(onset), v.y(pitch) + 0.5, Math.max(2, (offset - onset) * v.step - 1), v.row - 1);
  }
  draw.clearRect(0, 0, LANE, v.height);
  draw.fillStyle = INK;
  for (let pitch = low; pitch <= high; pitch++)
    if (pitch % 12 === 0) draw.fillText(`C${pitch / 12 - 1}`, 8, v.y(pitch) + v.row / 2 + 4);
  draw.fillStyle = SOUNDING;
  draw.fillRect(v.x(now) - 1, 0, 2, v.height);
}

// The notes of the whole recording are drawn once for each size of the window.
function notesOfWhole(width, height) {
  if (kept && kept.width === whole.width) return kept;
  kept = document.createElement("canvas");
  [kept.width, kept.height] = [whole.width, whole.height];
  const draw = kept.getContext("2d"), row = height / (high - low + 1), step = width / data.duration;
  draw.scale(kept.width / width, kept.height / height);
  draw.fillStyle = `rgb(${NOTE})`;
  for (const [onset, offset, pitch] of data.notes)
    draw.fillRect(onset * step, (high - pitch) * row, Math.max(1, (offset - onset) * step), Math.max(1, row));
  return kept;
}

function drawWhole() {
  const [draw, width, height] = clear(whole);
  draw.drawImage(notesOfWhole(width, height), 0, 0, width, height);
  draw.fillStyle = SOUNDING;
  draw.fillRect(sound.currentTime / data.duration * width - 1, 0, 2, height);
}

function clock(time) {
  return `${Math.floor(time / 60)}:${(time % 60).toFixed(1).padStart(4, "0")}`;
}

function tell() {
  const now = sound.currentTime + 1e-3, beat = data.beats[after(data.beats, now) - 1], at = data.bars[after(data.bars, now) - 1];
  const where = beat ? `bar ${beat[1]}, beat ${beat[2]}` : at ? `bar ${at[1]}` : "before the music";
  place.textContent = `${clock(sound.currentTime)} of ${clock(data.duration)} · ${where}`;
}

function draw() {
  const [context] = clear(roll), v = view();
  drawGrid(context, v);
  drawNotes(context, v);
  drawWhole();
  tell();
}

function follow() {
  draw();
  if (!sound.paused) requestAnimationFrame(follow);
}

function seek(time) {
  sound.currentTime = Math.min(Math.max(0, time), data.duration);
  draw();
}

function noteAt(event) {
  const v = view(), box = roll.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  const near = data.notes.filter(([onset, offset, pitch]) =>
    v.x(onset) - 2 <= x && x <= Math.max(v.x(offset), v.x(onset) + 4) && v.y(pitch) <= y && y < v.y(pitch) + v.row);
  return { note: near[near.length - 1], time: v.start + (x - LANE) / v.step };
}

function step(by) {
  const now = sound.currentTime + 1e-3, at = after(data.bars, now) - 1;
  const target = data.bars[Math.min(Math.max(0, at + by), data.bars.length - 1)];
  if (target) seek(target[0]);
}

roll.addEventListener("click", (event) => {
  const { note, time } = noteAt(event);
  seek(note ? note[0] : time);
});
roll.addEventListener("mousemove", (event) => {
  const { note } = noteAt(event);
  under.textContent = note ? `${data.names[note[2]]}, ${note[0].toFixed(3)} s, confidence ${note[3].toFixed(2)}` : "";
});
whole.addEventListener("click", (event) => {
  const box = whole.getBoundingClientRect();
  seek((event.clientX - box.left) / box.width * data.duration);
});
bar.addEventListener("change", () => {
  const found = data.bars.find((row) => row[1] === Number(bar.value));
  if (found) seek(found[0]);
});
document.addEventListener("keydown", (event) => {
  const acts = { ArrowLeft: () => step(-1), ArrowRight: () => step(1) };
  if (!acts[event.key] || ["INPUT", "AUDIO"].includes(event.target.tagName)) return;
  event.preventDefault();
  acts[event.key]();
});
for (const name of ["play", "seeked", "loadedmetadata"]) sound.addEventListener(name, follow);
for (const [target, name] of [[zoom, "input"], [window, "resize"]]) target.addEventListener(name, draw);
draw();
