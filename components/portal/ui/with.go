//go:build ui

package ui

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

var files = sub()

func sub() fs.FS {
	f, err := fs.Sub(dist, "dist")
	if err != nil { // cannot be: the name is right
		return nil
	}
	return f
}
