package config

import "fmt"

// Layer is where a value comes from. Later layers win.
type Layer string

// The layers, lowest first.
const (
	// LayerDefault: the product's or a schema's default.
	LayerDefault Layer = "default"
	// LayerFile: a file in repository/conf.
	LayerFile Layer = "file"
	// LayerEnvironment: a variable of the server's environment that the schema names with x-env.
	LayerEnvironment Layer = "environment"
	// LayerArgument: a -D property of this start.
	LayerArgument Layer = "argument"
)

// Origin is where a value stands. Line and column count from 1; 0 is unknown.
type Origin struct {
	Layer        Layer
	File         string
	Line, Column int
}

// String is the place for a person: "repository/conf/carbon.xml:12", "-DportOffset", "default".
func (o Origin) String() string {
	switch {
	case o.File == "":
		return string(o.Layer)
	case o.Line == 0:
		return o.File
	}
	return fmt.Sprintf("%s:%d", o.File, o.Line)
}

// Value is a value that knows where it stands.
type Value[T any] struct {
	V    T
	From Origin
}

// Set tells whether anyone but the product's default gave the value.
func (v Value[T]) Set() bool { return v.From.Layer != LayerDefault }
