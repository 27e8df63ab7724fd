// The page and the API share the colony's localhost: Vite hands /api on to it, so that the
// browser talks to one origin and needs no CORS.
export default {
  server: { proxy: { "/api": "http://127.0.0.1:8000" } },
};
