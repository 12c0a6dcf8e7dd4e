// Command EventReceiver is the component EventReceiver as a process of its own.
package main

import (
	"carbonado.dev/carbonado/components/eventreceiver"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(eventreceiver.Start, eventreceiver.Options...) }
