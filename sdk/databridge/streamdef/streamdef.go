// Package streamdef is the definition of an event stream: its model, its JSON form as DAS writes it, and the rules that a
// definition and its versions must keep. It must not know how definitions are stored or events encoded.
package streamdef

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// Errors of definitions.
var (
	ErrMalformed = cause.Define("CBN-STR-001", "A stream definition is malformed.", "Correct the definition at the place that is named.").Code(codes.InvalidArgument)
	ErrDifferent = cause.Define("CBN-STR-002", "A stream is defined differently already.", "Give the new definition another version, or change its attributes to the present ones.").Code(codes.AlreadyExists)
)

// DefaultVersion is the version of a definition that names none.
const DefaultVersion = "1.0.0"

// Limits of a definition.
const (
	// MaxAttributes of all three kinds together.
	MaxAttributes = 1000
	// MaxName is the longest name of a stream or attribute in bytes.
	MaxName = 200
	// MaxText is the largest definition text in bytes.
	MaxText = 1 << 20
)

// Type is the type of an attribute.
type Type uint8

// The types of DAS.
const (
	Int Type = iota + 1
	Long
	Float
	Double
	Bool
	String
)

var typeNames = [...]string{Int: "int", Long: "long", Float: "float", Double: "double", Bool: "bool", String: "string"}

// String is the type's name in definitions: int, long, float, double, bool, string.
func (t Type) String() string {
	if int(t) < len(typeNames) && t != 0 {
		return typeNames[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// TypeOf finds a type by its name, in any case.
func TypeOf(name string) (Type, bool) {
	for t, n := range typeNames {
		if n != "" && strings.EqualFold(n, name) {
			return Type(t), true
		}
	}
	return 0, false
}

// Attribute is one value of each event.
type Attribute struct {
	Name string
	Type Type
}

// Definition says which attributes the events of a stream have. Definitions are not changed once in use.
type Definition struct {
	Name, Version              string
	NickName, Description      string
	Tags                       []string
	Meta, Correlation, Payload []Attribute
	// Durable "none": events are accepted without a durable consumer.
	Durable string
}

// ID is "name:version".
func (d *Definition) ID() string { return d.Name + ":" + d.Version }

// FileName is the definition's file in eventstreams, without its suffix.
func (d *Definition) FileName() string { return d.Name + "_" + d.Version }

// Column is an attribute as the column of a record batch.
type Column struct {
	Name string
	Type Type
}

// Columns are the attributes in the order of events, named as in record batches: `meta_<n>`, `correlation_<n>`, `<n>`.
func (d *Definition) Columns() []Column {
	cols := make([]Column, 0, len(d.Meta)+len(d.Correlation)+len(d.Payload))
	for _, a := range d.Meta {
		cols = append(cols, Column{"meta_" + a.Name, a.Type})
	}
	for _, a := range d.Correlation {
		cols = append(cols, Column{"correlation_" + a.Name, a.Type})
	}
	for _, a := range d.Payload {
		cols = append(cols, Column(a))
	}
	return cols
}

var versionForm = regexp.MustCompile(`^\d{1,9}\.\d{1,9}\.\d{1,9}$`)

// isName says whether a name begins with a letter or _, and goes on with letters, digits, _, . and -. (Unicode's classes as a regular
// expression take a hundred kilobytes of every process that links this.)
func isName(name string) bool {
	for i, r := range name {
		if r != '_' && !unicode.IsLetter(r) && (i == 0 || r != '.' && r != '-' && !unicode.IsNumber(r)) {
			return false
		}
	}
	return name != ""
}

// Reserved are column names that every table has; no attribute may take them. `_timestamp` is one too, but a payload attribute
// of type long may have that name: it then is the event's time.
var Reserved = map[string]bool{"_seq": true, "_id": true, "_arbitrary": true, "_version": true, "_timestamp": true}

// Validate checks what the JSON reader checks, for definitions made otherwise.
func (d *Definition) Validate() error {
	if d.Name == "" {
		return ErrMalformed.New("the definition has no name")
	}
	if !isName(d.Name) || len(d.Name) > MaxName {
		return ErrMalformed.New("stream name %.210q: letters, digits, '_', '.', '-' and at most %d bytes are allowed", d.Name, MaxName)
	}
	if !versionForm.MatchString(d.Version) {
		return ErrMalformed.New("version %.40q of stream %s is not of the form 1.0.0", d.Version, d.Name)
	}
	if d.Durable != "" && d.Durable != "none" {
		return ErrMalformed.New("durable of stream %s is %.40q; only \"none\" is possible", d.ID(), d.Durable)
	}
	columns := d.Columns()
	if len(columns) > MaxAttributes {
		return ErrMalformed.New("stream %s has %d attributes, at most %d are possible", d.ID(), len(columns), MaxAttributes)
	}
	seen := map[string]bool{}
	for _, c := range columns {
		if err := checkColumn(c, seen); err != nil {
			return ErrMalformed.New("stream %s: %s", d.ID(), err.Error())
		}
	}
	return nil
}

// checkColumn answers a plain error that names the attribute.
func checkColumn(c Column, seen map[string]bool) error {
	switch {
	case !isName(c.Name) || len(c.Name) > MaxName:
		return fmt.Errorf("attribute name %.210q: letters, digits, '_', '.', '-' and at most %d bytes are allowed", c.Name, MaxName)
	case c.Type < Int || c.Type > String:
		return fmt.Errorf("attribute %s has no type", c.Name)
	case seen[strings.ToLower(c.Name)]:
		return fmt.Errorf("attribute %s stands twice (as a column; case does not count)", c.Name)
	case c.Name == "_timestamp" && c.Type == Long:
	case Reserved[strings.ToLower(c.Name)]:
		return fmt.Errorf("attribute name %s is reserved", c.Name)
	}
	seen[strings.ToLower(c.Name)] = true
	return nil
}

// Same reports whether two definitions have the same id and attributes. Texts, tags and `durable` don't count: events of both
// are the same.
func (d *Definition) Same(o *Definition) bool {
	return d.ID() == o.ID() && equal(d.Meta, o.Meta) && equal(d.Correlation, o.Correlation) && equal(d.Payload, o.Payload)
}

func equal(a, b []Attribute) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Conflict says why d can't stand beside o, another version of the same stream: an attribute of the same name and another
// type. nil is no conflict.
func (d *Definition) Conflict(o *Definition) error {
	if d.Name != o.Name || d.Version == o.Version {
		return nil
	}
	types := map[string]Type{}
	for _, c := range o.Columns() {
		types[c.Name] = c.Type
	}
	for _, c := range d.Columns() {
		if t, ok := types[c.Name]; ok && t != c.Type {
			return ErrDifferent.New("attribute %s is %s in stream %s and %s in stream %s", c.Name, c.Type, d.ID(), t, o.ID())
		}
	}
	return nil
}

// JSON is the definition as a file of eventstreams. Equal definitions give equal bytes.
func (d *Definition) JSON() []byte {
	type attribute struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	list := func(in []Attribute) []attribute {
		var out []attribute
		for _, a := range in {
			out = append(out, attribute{a.Name, strings.ToUpper(a.Type.String())})
		}
		return out
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	// Encoding strings and slices of them can't fail.
	_ = e.Encode(struct {
		Name        string      `json:"name"`
		Version     string      `json:"version"`
		NickName    string      `json:"nickName"`
		Description string      `json:"description"`
		Tags        []string    `json:"tags,omitempty"`
		Durable     string      `json:"durable,omitempty"`
		Meta        []attribute `json:"metaData,omitempty"`
		Correlation []attribute `json:"correlationData,omitempty"`
		Payload     []attribute `json:"payloadData,omitempty"`
	}{d.Name, d.Version, d.NickName, d.Description, d.Tags, d.Durable, list(d.Meta), list(d.Correlation), list(d.Payload)})
	return b.Bytes()
}

// Proto is the definition as it travels.
func (d *Definition) Proto() *analyticsv1.StreamDefinition {
	list := func(in []Attribute) []*analyticsv1.Attribute {
		var out []*analyticsv1.Attribute
		for _, a := range in {
			out = append(out, &analyticsv1.Attribute{Name: a.Name, Type: a.Type.String()})
		}
		return out
	}
	return &analyticsv1.StreamDefinition{
		Name: d.Name, Version: d.Version, NickName: d.NickName, Description: d.Description, Tags: d.Tags, Durable: d.Durable,
		Meta: list(d.Meta), Correlation: list(d.Correlation), Payload: list(d.Payload),
	}
}

// FromProto makes a valid definition of a message, or answers ErrMalformed.
func FromProto(p *analyticsv1.StreamDefinition) (*Definition, error) {
	d := &Definition{Name: p.GetName(), Version: p.GetVersion(), NickName: p.GetNickName(), Description: p.GetDescription(), Tags: p.GetTags(), Durable: p.GetDurable()}
	if d.Version == "" {
		d.Version = DefaultVersion
	}
	for _, l := range []struct {
		to   *[]Attribute
		from []*analyticsv1.Attribute
	}{{&d.Meta, p.GetMeta()}, {&d.Correlation, p.GetCorrelation()}, {&d.Payload, p.GetPayload()}} {
		for _, a := range l.from {
			t, ok := TypeOf(a.GetType())
			if !ok {
				return nil, ErrMalformed.New("attribute %s of stream %s has type %.40q", a.GetName(), d.Name, a.GetType())
			}
			*l.to = append(*l.to, Attribute{a.GetName(), t})
		}
	}
	return d, d.Validate()
}
