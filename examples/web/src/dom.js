// Making elements in one expression.

/**
 * @param {string} tag with classes after dots: "span.name"
 * @param {object} attributes; keys that start with "--" are CSS properties
 * @param {...(Node | string)} children
 */
export function element(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const made = document.createElement(name);
  made.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("--")) made.style.setProperty(key, value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A class name as people write it. */
export const spoken = (name) => name.replaceAll("_", " ");

export const percent = (value) => `${Math.round(value * 100)} %`;
