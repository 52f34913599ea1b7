// Keeps the page's own files, so that it works without a server. The build puts the names and
// the version of the files in the first line.
/* global VERSION, FILES */

const CACHE = `hmic-${VERSION}`;
const RUNTIME = new URL(self.location).searchParams.get("runtime");

// Of the runtime's variants only the one that this browser runs: each has 9 MB.
const wanted = FILES.filter((name) => !name.includes("_internal.") || name.includes(`/${RUNTIME}.`));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(wanted)));
  self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) =>
        Promise.all(
          names
            .filter((name) => name.startsWith("hmic-") && name !== CACHE)
            .map((name) => caches.delete(name)),
        ),
      )
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  event.respondWith(
    caches
      .open(CACHE)
      .then((cache) => cache.match(event.request, { ignoreSearch: true }))
      .then((kept) => kept ?? fetch(event.request)),
  );
});
