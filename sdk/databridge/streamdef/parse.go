package streamdef

import (
	"errors"
	"fmt"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/databridge/lenientjson"
)

// Notice is something in a definition's text that was passed over.
type Notice struct {
	Line, Column int
	Text         string
}

// Parse reads a definition from JSON, leniently as DAS does (DAS.md section 3.7). Errors are ErrMalformed with line and
// column; file names the text in them and may be empty. Unknown names are passed over and noticed.
func Parse(file string, data []byte) (*Definition, []Notice, error) {
	if len(data) > MaxText {
		return nil, nil, ErrMalformed.New("the definition has %d bytes, at most %d are possible", len(data), MaxText).At(file, 0, 0)
	}
	root, err := lenientjson.Parse(data)
	if err != nil {
		var s *lenientjson.SyntaxError
		if errors.As(err, &s) {
			return nil, nil, ErrMalformed.New("%s", s.Text).At(file, s.Line, s.Column)
		}
		return nil, nil, ErrMalformed.Wrap(err, "the definition can't be read").At(file, 0, 0)
	}
	r := &reader{file: file, def: &Definition{Version: DefaultVersion}, seen: map[string]bool{}}
	if err := r.definition(root); err != nil {
		return nil, nil, err
	}
	return r.def, r.notices, nil
}

type reader struct {
	file    string
	def     *Definition
	notices []Notice
	seen    map[string]bool
}

func (r *reader) fail(v *lenientjson.Value, format string, args ...any) error {
	return ErrMalformed.New(format, args...).At(r.file, v.Line, v.Column)
}

func (r *reader) definition(root *lenientjson.Value) error {
	if root.Kind != lenientjson.Object {
		return r.fail(root, "%s where the definition's object should be", root.Kind)
	}
	d := r.def
	var streamID *lenientjson.Value
	lists := map[string]*lenientjson.Value{}
	for _, m := range root.Members {
		var err error
		switch m.Name {
		case "name":
			err = r.text(m.Value, "name", &d.Name)
		case "version":
			err = r.text(m.Value, "version", &d.Version)
		case "nickName":
			err = r.text(m.Value, "nickName", &d.NickName)
		case "description":
			err = r.text(m.Value, "description", &d.Description)
		case "durable":
			err = r.text(m.Value, "durable", &d.Durable)
		case "streamId":
			streamID = m.Value
		case "tags":
			err = r.tags(m.Value)
		case "metaData", "correlationData", "payloadData":
			lists[m.Name] = m.Value
		default:
			r.notices = append(r.notices, Notice{m.Line, m.Column, fmt.Sprintf("%q is not part of a stream definition", m.Name)})
		}
		if err != nil {
			return err
		}
	}
	if d.Version == "" {
		d.Version = DefaultVersion
	}
	if d.Name == "" {
		return r.fail(root, "the definition has no name")
	}
	head := *d
	if err := head.Validate(); err != nil {
		at := root
		if v := root.Get("name"); v != nil {
			at = v
		}
		if v := root.Get("version"); v != nil && !versionForm.MatchString(d.Version) && isName(d.Name) {
			at = v
		}
		return placed(err, r.file, at)
	}
	for _, l := range []struct {
		name, prefix string
		to           *[]Attribute
	}{{"metaData", "meta_", &d.Meta}, {"correlationData", "correlation_", &d.Correlation}, {"payloadData", "", &d.Payload}} {
		if v := lists[l.name]; v != nil {
			if err := r.attributes(v, l.prefix, l.to); err != nil {
				return err
			}
		}
	}
	var id string
	if streamID != nil {
		if err := r.text(streamID, "streamId", &id); err != nil {
			return err
		}
		if id != "" && id != d.ID() {
			return r.fail(streamID, "streamId is %.210q, name and version say %s", id, d.ID())
		}
	}
	return nil
}

func (r *reader) text(v *lenientjson.Value, name string, to *string) error {
	switch v.Kind {
	case lenientjson.String, lenientjson.Word, lenientjson.Bool:
		*to = v.Text
	case lenientjson.Null:
	default:
		return r.fail(v, "%s is %s instead of a string", name, v.Kind)
	}
	return nil
}

func (r *reader) tags(v *lenientjson.Value) error {
	if v.Kind == lenientjson.Null {
		return nil
	}
	if v.Kind != lenientjson.Array {
		return r.fail(v, "tags is %s instead of an array", v.Kind)
	}
	for _, item := range v.Items {
		var tag string
		if err := r.text(item, "a tag", &tag); err != nil {
			return err
		}
		r.def.Tags = append(r.def.Tags, tag)
	}
	return nil
}

func (r *reader) attributes(v *lenientjson.Value, prefix string, to *[]Attribute) error {
	if v.Kind == lenientjson.Null {
		return nil
	}
	if v.Kind != lenientjson.Array {
		return r.fail(v, "attributes are %s instead of an array", v.Kind)
	}
	for _, item := range v.Items {
		if item.Kind != lenientjson.Object {
			return r.fail(item, "an attribute is %s instead of an object", item.Kind)
		}
		var a Attribute
		var typeName string
		for _, m := range item.Members {
			var err error
			switch m.Name {
			case "name":
				err = r.text(m.Value, "name", &a.Name)
			case "type":
				err = r.text(m.Value, "type", &typeName)
			default:
				r.notices = append(r.notices, Notice{m.Line, m.Column, fmt.Sprintf("%q is not part of an attribute", m.Name)})
			}
			if err != nil {
				return err
			}
		}
		if a.Name == "" {
			return r.fail(item, "an attribute has no name")
		}
		var ok bool
		if a.Type, ok = TypeOf(typeName); !ok {
			at := item
			if t := item.Get("type"); t != nil {
				at = t
			}
			return r.fail(at, "attribute %s has type %.40q; int, long, float, double, bool and string are possible", a.Name, typeName)
		}
		if err := checkColumn(Column{prefix + a.Name, a.Type}, r.seen); err != nil {
			return r.fail(item, "%s", err.Error())
		}
		*to = append(*to, a)
		if len(r.seen) > MaxAttributes {
			return r.fail(item, "more than %d attributes", MaxAttributes)
		}
	}
	return nil
}

// placed gives an ErrMalformed of Validate its place in the text.
func placed(err error, file string, v *lenientjson.Value) error {
	var e *cause.Error
	if errors.As(err, &e) {
		return e.At(file, v.Line, v.Column)
	}
	return err
}
