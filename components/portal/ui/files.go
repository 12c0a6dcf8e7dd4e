// Package ui holds the built web page. It must not know how it is served.
//
// The page is built by `npm ci && npm run build` in this folder and embedded with the build tag ui; without the tag a Go build
// needs no Node and holds no page.
package ui

import "io/fs"

// Files are the built page: index.html and assets/, with .br and .gz beside what is worth it; nil without the tag ui.
func Files() fs.FS { return files }
