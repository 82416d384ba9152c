"use strict";

// Fonts of the machine: the default theme names some that would have to be fetched.
const fontFamily = "system-ui, sans-serif";
const theme = { typography: { fontFamily, headings: { fontFamily } } };

Redoc.init("/api/v1/openapi.json", { theme }, document.getElementById("redoc"));
