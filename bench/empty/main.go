// Command empty is a component of the SDK that does nothing: what a component costs before it does anything.
package main

import "carbonado.dev/sdk/component"

func main() { component.Main(func(*component.C) error { return nil }) }
