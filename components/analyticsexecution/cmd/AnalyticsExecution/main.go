// Command AnalyticsExecution is the component AnalyticsExecution. It must not hold anything but its start.
package main

import (
	"carbonado.dev/carbonado/components/analyticsexecution"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(analyticsexecution.Start, analyticsexecution.Options...) }
