// Package boot makes a program that imports it the guardian when it is executed as `PROGRAM server …` and no guardian runs it yet,
// before most other packages are initialised: a guardian costs a few milliseconds and megabytes less than the kernel's own start. It must
// not know what the kernel does.
package boot

import (
	"os"

	"carbonado.dev/carbonado/runtime/guardian"
)

// Command is the first argument that asks for a server.
const Command = "server"

// restarts is how many kernels may die within a minute before all is ended.
const restarts = 5

func init() {
	if len(os.Args) > 1 && os.Args[1] == Command && !guardian.Inside() {
		os.Exit(guardian.Run(guardian.Config{Args: append([]string{"carbonado"}, os.Args[1:]...), Restarts: restarts}))
	}
}
