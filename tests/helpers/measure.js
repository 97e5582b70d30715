// Leaves what a reader would see as JSON in <html data-measured> of the page around this one.
const blocked = [];
document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.blockedURI));

const channels = (color) => color.match(/[\d.]+/g).map(Number);
const opaque = (color) => channels(color).length < 4 || channels(color)[3] === 1;

function luminance(color) {
  const linear = channels(color).slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function background(element) {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (opaque(color)) return color;
  }
  return "rgb(255, 255, 255)";
}

function contrast(element) {
  const style = getComputedStyle(element);
  const front = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
  const both = [luminance(front), luminance(background(element))];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}

function worstContrast() {
  let worst = { ratio: Infinity, text: "" };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element.getClientRects().length) continue;
    const ratio = contrast(element);
    if (ratio < worst.ratio) worst = { ratio, text: text.slice(0, 60) };
  }
  return worst;
}

window.addEventListener("load", () => {
  const images = [...document.images];
  const fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
  parent.document.documentElement.dataset.measured = JSON.stringify({
    blocked,
    fetched: fetched.filter((name) => !name.startsWith("data:")),
    images: images.length,
    loaded: images.filter((image) => image.complete && image.naturalWidth > 0).length,
    width: window.innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    wideBoxes: [...document.querySelectorAll(".scroll")].filter((box) => box.scrollWidth > box.clientWidth).length,
    page: getComputedStyle(document.body).backgroundColor,
    worst: worstContrast(),
  });
});
