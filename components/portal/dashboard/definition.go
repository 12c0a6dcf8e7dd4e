// Package dashboard reads dashboard definitions, keeps the deployed ones and serves them to those who may see them. It must not
// know how a chart is drawn or where its data come from.
package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Causes of dashboards.
var (
	ErrDefinition = cause.Define("CBN-PRT-010", "The dashboard's definition is wrong.",
		"Correct the file at the line that is named; docs of the format are in README.md of Portal.").Code(codes.InvalidArgument)
	ErrDuplicate = cause.Define("CBN-PRT-011", "Another file defines a dashboard of the same id.",
		"Give one of them another id, or remove it.").Code(codes.AlreadyExists)
	ErrNoDashboard = cause.Define("CBN-PRT-012", "There is no such dashboard.",
		"See the list of dashboards; files lie in repository/deployment/server/dashboards.").Code(codes.NotFound)
	ErrNotViewer = cause.Define("CBN-PRT-013", "The dashboard is not for this user.",
		"Ask an administrator for one of the roles under `permissions.viewers` of the dashboard.").Code(codes.PermissionDenied)
)

// Definition is a dashboard as its file has it. Keys are those of DAS where they mean the same.
type Definition struct {
	ID          string `json:"id"`
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	// RefreshSeconds is how often gadgets read anew, unless a gadget says otherwise.
	RefreshSeconds int         `json:"refreshSeconds,omitempty"`
	Permissions    Permissions `json:"permissions"`
	// Landing is the id of the page that is shown first; the first page if empty.
	Landing string `json:"landing,omitempty"`
	Pages   []Page `json:"pages"`
}

// Permissions names roles. No viewers means everyone.
type Permissions struct {
	Viewers []string `json:"viewers,omitempty"`
	Editors []string `json:"editors,omitempty"`
}

// Page is one page of a dashboard.
type Page struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Gadgets []Gadget `json:"gadgets"`
}

// Gadget is one chart on a grid of twelve columns.
type Gadget struct {
	ID             string `json:"id"`
	Title          string `json:"title"`
	Description    string `json:"description,omitempty"`
	X              int    `json:"x"`
	Y              int    `json:"y"`
	Width          int    `json:"width"`
	Height         int    `json:"height"`
	RefreshSeconds int    `json:"refreshSeconds,omitempty"`
	Chart          Chart  `json:"chart"`
	Data           Data   `json:"data"`
}

// Chart says how rows are drawn.
type Chart struct {
	// Type is number, bar, line or table.
	Type string `json:"type"`
	// X is the column of categories (bar) or of times in milliseconds (line).
	X string `json:"x,omitempty"`
	// Y are the columns of values; a number has one, and none if it counts.
	Y []string `json:"y,omitempty"`
	// Unit is written after values; Decimals is how many places they have.
	Unit     string `json:"unit,omitempty"`
	Decimals int    `json:"decimals,omitempty"`
	// Sort of bars: "value" puts the greatest first, "name" (default) goes by category.
	Sort string `json:"sort,omitempty"`
}

// Data says where rows come from: exactly one of CountOf, Table and SQL.
type Data struct {
	// CountOf is a table whose records are counted.
	CountOf string `json:"countOf,omitempty"`
	// Table is read through the REST API, at most Limit records, only Columns.
	Table   string   `json:"table,omitempty"`
	Columns []string `json:"columns,omitempty"`
	Limit   int      `json:"limit,omitempty"`
	// SQL is a script for the engine; the rows of its last SELECT are drawn.
	SQL string `json:"sql,omitempty"`
}

const (
	gridColumns = 12
	maxRefresh  = 3600
	maxRows     = 5000
	usualRows   = 1000
)

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func isID(id string) bool { return len(id) <= 64 && idForm.MatchString(id) }

// Parse reads a definition. An error is ErrDefinition with line and column.
func Parse(content []byte) (*Definition, error) {
	where, wrong := locate(content)
	if wrong != nil {
		return nil, wrong
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	var def Definition
	if err := d.Decode(&def); err != nil {
		offset := d.InputOffset()
		text := strings.TrimPrefix(err.Error(), "json: ")
		var typ *json.UnmarshalTypeError
		if errors.As(err, &typ) {
			offset = typ.Offset
			text = fmt.Sprintf("%s: a JSON %s instead of %s", typ.Field, typ.Value, plain(typ.Type.String()))
		}
		if key, ok := strings.CutPrefix(text, "unknown field "); ok {
			return nil, where.unknown(strings.Trim(key, `"`))
		}
		return nil, where.at(offset, ErrDefinition.New("%s", text))
	}
	if err := def.check(where); err != nil {
		return nil, err
	}
	return &def, nil
}

// unknown finds the first unknown key of that name.
func (p *positions) unknown(key string) *cause.Error {
	first := int64(len(p.text))
	for path, offset := range p.starts {
		if path == key || strings.HasSuffix(path, "."+key) {
			first = min(first, offset)
		}
	}
	return p.at(first, ErrDefinition.New("the key %q is unknown", key))
}

func plain(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	case goType == "int":
		return "a whole number"
	case goType == "string":
		return "a string"
	}
	return "an object"
}

func (d *Definition) check(where *positions) error {
	switch {
	case !isID(d.ID):
		return where.wrong("id", "%q is not made of a to z, 0 to 9 and -", d.ID)
	case d.Title == "":
		return where.wrong("title", "is missing")
	case d.RefreshSeconds < 0 || d.RefreshSeconds > maxRefresh:
		return where.wrong("refreshSeconds", "%d is not between 0 and %d", d.RefreshSeconds, maxRefresh)
	case len(d.Pages) == 0:
		return where.wrong("pages", "there is no page")
	}
	pages := map[string]bool{}
	for i := range d.Pages {
		page := &d.Pages[i]
		path := fmt.Sprintf("pages[%d]", i)
		switch {
		case !isID(page.ID):
			return where.wrong(path+".id", "%q is not made of a to z, 0 to 9 and -", page.ID)
		case pages[page.ID]:
			return where.wrong(path+".id", "%q stands twice", page.ID)
		case page.Title == "":
			return where.wrong(path+".title", "is missing")
		}
		pages[page.ID] = true
		gadgets := map[string]bool{}
		for j := range page.Gadgets {
			g := &page.Gadgets[j]
			at := fmt.Sprintf("%s.gadgets[%d]", path, j)
			if gadgets[g.ID] {
				return where.wrong(at+".id", "%q stands twice", g.ID)
			}
			gadgets[g.ID] = true
			if err := g.check(where, at); err != nil {
				return err
			}
		}
	}
	if d.Landing != "" && !pages[d.Landing] {
		return where.wrong("landing", "there is no page %q", d.Landing)
	}
	return nil
}

func (g *Gadget) check(where *positions, at string) error {
	switch {
	case !isID(g.ID):
		return where.wrong(at+".id", "%q is not made of a to z, 0 to 9 and -", g.ID)
	case g.Title == "":
		return where.wrong(at+".title", "is missing")
	case g.X < 0 || g.Width < 1 || g.X+g.Width > gridColumns:
		return where.wrong(at+".x", "x %d and width %d do not lie within %d columns", g.X, g.Width, gridColumns)
	case g.Y < 0 || g.Height < 1 || g.Height > 20:
		return where.wrong(at+".y", "y %d and height %d: y starts at 0, height is 1 to 20", g.Y, g.Height)
	case g.RefreshSeconds < 0 || g.RefreshSeconds > maxRefresh:
		return where.wrong(at+".refreshSeconds", "%d is not between 0 and %d", g.RefreshSeconds, maxRefresh)
	}
	if err := g.Data.check(where, at+".data"); err != nil {
		return err
	}
	return g.Chart.check(where, at+".chart", g.Data.CountOf != "")
}

func (c *Chart) check(where *positions, at string, counts bool) error {
	if c.Decimals < 0 || c.Decimals > 6 {
		return where.wrong(at+".decimals", "%d is not between 0 and 6", c.Decimals)
	}
	if !slices.Contains([]string{"", "name", "value"}, c.Sort) {
		return where.wrong(at+".sort", "%q is neither name nor value", c.Sort)
	}
	switch c.Type {
	case "number":
		if counts && len(c.Y) > 0 || !counts && len(c.Y) != 1 {
			return where.wrong(at+".y", "a number has one column y, and none if data.countOf is given")
		}
	case "bar", "line":
		switch {
		case counts:
			return where.wrong(at+".type", "a %s needs rows, and data.countOf gives one number", c.Type)
		case c.X == "":
			return where.wrong(at+".x", "a %s needs a column x", c.Type)
		case len(c.Y) == 0:
			return where.wrong(at+".y", "a %s needs one column y or more", c.Type)
		}
	case "table":
		if counts {
			return where.wrong(at+".type", "a table needs rows, and data.countOf gives one number")
		}
	default:
		return where.wrong(at+".type", "%q is none of number, bar, line, table", c.Type)
	}
	return nil
}

func (d *Data) check(where *positions, at string) error {
	given := 0
	for _, source := range []string{d.CountOf, d.Table, d.SQL} {
		if source != "" {
			given++
		}
	}
	if given != 1 {
		return where.wrong(at, "exactly one of countOf, table and sql is needed; %d are given", given)
	}
	if d.Table == "" && (len(d.Columns) > 0 || d.Limit != 0) {
		return where.wrong(at, "columns and limit go with table only")
	}
	if d.Limit < 0 || d.Limit > maxRows {
		return where.wrong(at+".limit", "%d is not between 1 and %d", d.Limit, maxRows)
	}
	if d.Table != "" && d.Limit == 0 {
		d.Limit = usualRows
	}
	return nil
}
