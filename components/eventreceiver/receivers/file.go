// Package receivers is the event receivers of eventreceivers/*.xml: it reads their files, keeps each one's call to its input
// adapter open, and maps messages to events of a stream. It must not know transports, nor where events go.
package receivers

import (
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge/streamdef"
)

// Errors of receivers.
var (
	ErrFile        = cause.Define("CBN-RCV-050", "An event receiver's file is wrong.", "Correct the file at the place that is named.").Code(codes.InvalidArgument)
	ErrUnsupported = cause.Define("CBN-RCV-051", "An event receiver asks for something that is not there.", "Use the mapping types wso2event or json with customMapping=\"disable\".").Code(codes.Unimplemented)
	ErrDuplicate   = cause.Define("CBN-RCV-052", "Two files define the same event receiver.", "Rename one of the receivers or remove one of the files.").Code(codes.AlreadyExists)
	ErrClosing     = cause.Define("CBN-RCV-055", "A receiver takes no more messages: another process takes over, or EventReceiver stops.", "Send them again after a while.").Code(codes.Unavailable)
	ErrAdapter     = cause.Define("CBN-RCV-054", "An input adapter did not take a receiver.", "See the adapter's log and the receiver's properties.")
)

// namespace of receiver files; a file without one is taken too.
const namespace = "http://wso2.org/carbon/eventreceiver"

// wso2event is the adapter type that this component serves itself: the Thrift ports.
const wso2event = "wso2event"

// definition is one file.
type definition struct {
	name       string
	adapter    string
	properties map[string]string
	mapping    string
	stream     string
	notices    []string
}

// parse reads a file. Errors have its place.
func parse(file string, data []byte) (*definition, error) {
	root, err := carbonxml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if root.Name.Local != "eventReceiver" || root.Name.Space != "" && root.Name.Space != namespace {
		return nil, root.Errorf(ErrFile, "the root is <%s> instead of <eventReceiver>", root.Name.Local)
	}
	d := &definition{properties: map[string]string{}}
	name, _ := root.Attr("name")
	if d.name = strings.TrimSpace(name.Value); d.name == "" {
		return nil, root.Errorf(ErrFile, "the receiver has no name")
	}
	if strings.ContainsAny(d.name, "/?#% \\") || len(d.name) > streamdef.MaxName {
		return nil, name.Errorf(ErrFile, "receiver name %.210q: no spaces and none of / \\ ? # %% are allowed", d.name)
	}
	for _, c := range root.Children {
		switch c.Name.Local {
		case "from":
			err = d.from(c)
		case "mapping":
			err = d.mappingOf(c)
		case "to":
			err = d.to(c)
		default:
			d.notices = append(d.notices, c.Pos.String()+": <"+c.Name.Local+"> is not part of an event receiver")
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case d.adapter == "":
		return nil, root.Errorf(ErrFile, "<from eventAdapterType=…> is missing")
	case d.mapping == "":
		return nil, root.Errorf(ErrFile, "<mapping type=…> is missing")
	case d.stream == "":
		return nil, root.Errorf(ErrFile, "<to streamName=… version=…> is missing")
	case (d.adapter == wso2event) != (d.mapping == wso2event):
		return nil, root.Child("mapping").Errorf(ErrUnsupported, "mapping type %s with adapter type %s", d.mapping, d.adapter)
	}
	return d, nil
}

func (d *definition) from(e *carbonxml.Element) error {
	typ, ok := e.Attr("eventAdapterType")
	if d.adapter = strings.TrimSpace(typ.Value); !ok || d.adapter == "" {
		return e.Errorf(ErrFile, "<from> has no eventAdapterType")
	}
	for _, p := range e.All("property") {
		name, _ := p.Attr("name")
		if name.Value == "" {
			return p.Errorf(ErrFile, "a property has no name")
		}
		if encrypted, ok := p.Attr("encrypted"); ok && encrypted.Value == "true" {
			return p.Errorf(ErrUnsupported, "property %s is encrypted with another installation's key", name.Value).Fix("Write the value in clear and restrict who can read the file.")
		}
		if _, twice := d.properties[name.Value]; twice {
			return p.Errorf(ErrFile, "property %s stands twice", name.Value)
		}
		d.properties[name.Value] = p.Value()
	}
	return nil
}

func (d *definition) mappingOf(e *carbonxml.Element) error {
	typ, _ := e.Attr("type")
	d.mapping = strings.TrimSpace(typ.Value)
	custom, _ := e.Attr("customMapping")
	switch {
	case d.mapping == "":
		return e.Errorf(ErrFile, "<mapping> has no type")
	case !slices.Contains([]string{"wso2event", "json", "xml", "text", "map"}, d.mapping):
		return typ.Errorf(ErrFile, "mapping type %.40q", d.mapping)
	case custom.Value != "" && custom.Value != "enable" && custom.Value != "disable":
		return custom.Errorf(ErrFile, "customMapping is %.40q; enable and disable are possible", custom.Value)
	case custom.Value == "enable":
		return custom.Errorf(ErrUnsupported, "custom mappings")
	case d.mapping != wso2event && d.mapping != "json":
		return typ.Errorf(ErrUnsupported, "mapping type %s", d.mapping)
	}
	return nil
}

func (d *definition) to(e *carbonxml.Element) error {
	name, _ := e.Attr("streamName")
	version, _ := e.Attr("version")
	if name.Value == "" {
		return e.Errorf(ErrFile, "<to> has no streamName")
	}
	if version.Value == "" {
		version.Value = streamdef.DefaultVersion
	}
	d.stream = name.Value + ":" + version.Value
	return nil
}
