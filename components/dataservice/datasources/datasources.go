// Package datasources reads analytics-datasources.xml, DAS's file that names where records and files are stored. It must not
// know how a store is opened.
package datasources

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
)

// FileName is the file's name in repository/conf/datasources.
const FileName = "analytics-datasources.xml"

// Names of the datasources that the product uses.
const (
	EventStore     = "WSO2_ANALYTICS_EVENT_STORE_DB"
	ProcessedStore = "WSO2_ANALYTICS_PROCESSED_DATA_STORE_DB"
	FileStore      = "WSO2_ANALYTICS_FS_DB"
)

// Errors of the file.
var (
	ErrFile = cause.Define("CBN-STORE-080", "The file of datasources is wrong.",
		"Correct repository/conf/datasources/analytics-datasources.xml at the place named.").Code(codes.InvalidArgument)
	ErrType = cause.Define("CBN-STORE-081", "A datasource has a type that can't be used.",
		`Use <definition type="EMBEDDED">: the other providers come with a package of theirs.`).Code(codes.Unimplemented)
)

// Source is one datasource.
type Source struct {
	Name, Description string
	// Type is EMBEDDED.
	Type string
	Pos  carbonxml.Pos
}

// Set is what the file says.
type Set struct {
	Sources []Source
	// Notices are what was read and has no effect.
	Notices []string
}

// Default is the set of an installation without the file.
func Default() *Set {
	return &Set{Sources: []Source{{Name: EventStore, Type: "EMBEDDED"}, {Name: ProcessedStore, Type: "EMBEDDED"}, {Name: FileStore, Type: "EMBEDDED"}}}
}

// RecordStores are the names of the record stores, the primary one first.
func (s *Set) RecordStores() []string {
	var out []string
	for _, x := range []struct{ source, store string }{{EventStore, "EVENT_STORE"}, {ProcessedStore, "PROCESSED_DATA_STORE"}} {
		if slices.ContainsFunc(s.Sources, func(d Source) bool { return d.Name == x.source }) {
			out = append(out, x.store)
		}
	}
	return out
}

// Read reads the file; a missing one is Default.
func Read(path string) (*Set, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return nil, ErrFile.Wrap(err, "it can't be read").At(path, 0, 0)
	}
	return Parse(path, data)
}

// readers are the provider classes of DAS and what they read.
var readers = map[string]string{
	"org.wso2.carbon.ndatasource.rdbms.RDBMSDataSourceReader":               "RDBMS",
	"org.wso2.carbon.datasource.reader.hadoop.HBaseDataSourceReader":        "HBASE",
	"org.wso2.carbon.analytics.datasource.hbase.HBaseDataSourceReader":      "HBASE",
	"org.wso2.carbon.datasource.reader.cassandra.CassandraDataSourceReader": "CASSANDRA",
	"dev.carbonado.datasource.EmbeddedDataSourceReader":                     "EMBEDDED",
}

// Parse reads the file's content; path is for messages. Errors name file, line and column.
func Parse(path string, data []byte) (*Set, error) {
	root, err := carbonxml.Parse(path, data)
	if err != nil {
		return nil, err
	}
	if root.Name.Local != "datasources-configuration" {
		return nil, root.Errorf(ErrFile, "the root element is %s, not datasources-configuration", root.Name.Local)
	}
	set := &Set{}
	for _, e := range root.Children {
		switch e.Name.Local {
		case "providers":
			if err := set.providers(e); err != nil {
				return nil, err
			}
		case "datasources":
			if err := set.datasources(e); err != nil {
				return nil, err
			}
		default:
			return nil, e.Errorf(ErrFile, "element %s is not known here", e.Name.Local)
		}
	}
	for _, name := range []string{EventStore, ProcessedStore} {
		if !slices.ContainsFunc(set.Sources, func(d Source) bool { return d.Name == name }) {
			return nil, root.Errorf(ErrFile, "datasource %s is missing", name)
		}
	}
	if !slices.ContainsFunc(set.Sources, func(d Source) bool { return d.Name == FileStore }) {
		// DAS 3.1's file has none.
		set.Sources = append(set.Sources, Source{Name: FileStore, Type: "EMBEDDED"})
	}
	return set, nil
}

func (s *Set) providers(e *carbonxml.Element) error {
	for _, p := range e.Children {
		if p.Name.Local != "provider" {
			return p.Errorf(ErrFile, "element %s is not known here", p.Name.Local)
		}
		name := p.Value()
		switch kind, ok := readers[name]; {
		case name == "EMBEDDED" || kind == "EMBEDDED":
		case ok:
			s.notice(p, "provider %s has no effect: this version stores EMBEDDED only", name)
		default:
			return p.Errorf(ErrFile, "provider %q is not known", name)
		}
	}
	return nil
}

func (s *Set) notice(e *carbonxml.Element, format string, args ...any) {
	s.Notices = append(s.Notices, fmt.Sprintf("%s: %s", e.Pos, fmt.Sprintf(format, args...)))
}

func (s *Set) datasources(e *carbonxml.Element) error {
	for _, d := range e.Children {
		if d.Name.Local != "datasource" {
			return d.Errorf(ErrFile, "element %s is not known here", d.Name.Local)
		}
		src := Source{Pos: d.Pos}
		var definition *carbonxml.Element
		for _, f := range d.Children {
			switch f.Name.Local {
			case "name":
				src.Name = f.Value()
			case "description":
				src.Description = f.Value()
			case "definition":
				definition = f
			case "jndiConfig":
				s.notice(f, "jndiConfig has no effect: there is no JNDI here")
			default:
				return f.Errorf(ErrFile, "element %s is not known here", f.Name.Local)
			}
		}
		if src.Name == "" {
			return d.Errorf(ErrFile, "a datasource without name")
		}
		if slices.ContainsFunc(s.Sources, func(o Source) bool { return o.Name == src.Name }) {
			return d.Errorf(ErrFile, "datasource %s is there twice", src.Name)
		}
		if definition == nil {
			return d.Errorf(ErrFile, "datasource %s has no definition", src.Name)
		}
		typ, ok := definition.Attr("type")
		if !ok {
			return definition.Errorf(ErrFile, "the definition of datasource %s has no type", src.Name)
		}
		src.Type = strings.ToUpper(strings.TrimSpace(typ.Value))
		switch src.Name {
		case EventStore, ProcessedStore, FileStore:
			if url := definition.Path("configuration/url"); src.Type == "RDBMS" && strings.HasPrefix(url.Value(), "jdbc:h2:") {
				// H2 was DAS's embedded store; a copied file goes on with ours.
				s.notice(url, "datasource %s names H2: records are kept in the embedded store instead", src.Name)
				src.Type = "EMBEDDED"
				break
			}
			if src.Type != "EMBEDDED" {
				return typ.Errorf(ErrType, "datasource %s has type %s", src.Name, typ.Value)
			}
			if err := s.embedded(definition); err != nil {
				return err
			}
		default:
			s.notice(d, "datasource %s has no effect: nothing uses it", src.Name)
		}
		s.Sources = append(s.Sources, src)
	}
	return nil
}

// embedded checks the configuration of the embedded store: it has none of its own here.
func (s *Set) embedded(definition *carbonxml.Element) error {
	for _, c := range definition.Children {
		if c.Name.Local != "configuration" {
			return c.Errorf(ErrFile, "element %s is not known here", c.Name.Local)
		}
		for _, x := range c.Children {
			return x.Errorf(ErrFile, "element %s is not known to the embedded store: its settings are in repository/conf/components/DataService.yaml", x.Name.Local)
		}
	}
	return nil
}
