// Command DuckDB is the process that runs statements of the component AnalyticsEngine, one at a time; the component starts it. It must
// not hold anything but its start.
package main

import (
	"carbonado.dev/carbonado/components/analyticsengine/duck"
	"carbonado.dev/carbonado/components/analyticsengine/worker"
)

func main() { worker.Main(duck.Open) }
