// Command AnalyticsEngine is the component AnalyticsEngine. It must not hold anything but its start.
package main

import (
	"carbonado.dev/carbonado/components/analyticsengine"
	"carbonado.dev/sdk/component"
)

func main() { component.Main(analyticsengine.Start, analyticsengine.Options...) }
