// Command EventSink is the component EventSink as a process of its own.
package main

import (
	"carbonado.dev/carbonado/components/eventsink"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(eventsink.Start, eventsink.Options...) }
