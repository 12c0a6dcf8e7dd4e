package analyticsexecution

import (
	"bytes"
	"encoding/xml"
	"regexp"
	"strings"

	"carbonado.dev/carbonado/components/analyticsexecution/quartz"
	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
)

// definition is what a script's file says.
type definition struct {
	name     string
	text     string
	cron     string
	schedule *quartz.Expression
	editable bool
	// path, line and column are where the text begins in the file.
	path         string
	line, column int
}

// keepCron as cron expression keeps the one that the script has (DAS.md section 7.7).
const keepCron = "DEFAULT"

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func checkName(name string) error {
	if len(name) > 100 || !namePattern.MatchString(name) {
		return ErrName.New("%q", name)
	}
	return nil
}

// elements of a script's file and whether one may stand twice.
var elements = map[string]bool{"Name": true, "Script": true, "CronExpression": true, "Editable": true, "CarbonAppName": true}

// readFile reads a script's file. The script is named by its file, as in DAS.
func readFile(name, path string, content []byte) (*definition, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	root, err := carbonxml.Parse(path, content)
	if err != nil {
		return nil, err
	}
	if root.Name.Local != "Analytics" {
		return nil, root.Errorf(ErrFile, "the root is %s, Analytics is expected", root.Name.Local)
	}
	seen := map[string]bool{}
	for _, c := range root.Children {
		if !elements[c.Name.Local] {
			return nil, c.Errorf(ErrFile, "unknown element %s; known are Name, Script, CronExpression, Editable, CarbonAppName", c.Name.Local)
		}
		if seen[c.Name.Local] {
			return nil, c.Errorf(ErrFile, "element %s stands twice", c.Name.Local)
		}
		seen[c.Name.Local] = true
	}
	d := &definition{name: name, path: path, editable: true}
	e := root.Child("Script")
	if e.Value() == "" {
		return nil, root.Errorf(ErrFile, "the element Script is missing or empty")
	}
	d.text = e.Value()
	d.line, d.column = e.TextPos.Line, e.TextPos.Column
	if e := root.Child("Editable"); e != nil {
		switch strings.ToLower(e.Value()) {
		case "true":
		case "false":
			d.editable = false
		default:
			return nil, e.Errorf(ErrFile, "Editable must be true or false, not %q", e.Value())
		}
	}
	if e := root.Child("CronExpression"); e.Value() != "" && !strings.EqualFold(e.Value(), "null") {
		d.cron = e.Value()
		if d.cron != keepCron {
			if d.schedule, err = quartz.Parse(d.cron); err != nil {
				c := cause.From(err)
				_, _, column := c.Position()
				return nil, c.At(path, e.TextPos.Line, e.TextPos.Column+max(column-1, 0))
			}
		}
	}
	return d, nil
}

// place turns a place in the script's text into one in its file.
func (d *definition) place(err error) error {
	c := cause.From(err)
	if c == nil {
		return nil
	}
	_, line, column := c.Position()
	if line == 0 {
		return c.At(d.path, d.line, d.column)
	}
	if line == 1 && column > 0 {
		column += d.column - 1
	}
	return c.At(d.path, line+d.line-1, column)
}

// writeFile makes a script's file.
func writeFile(name, text, cron string) []byte {
	var b bytes.Buffer
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Analytics>\n    <Name>")
	_ = xml.EscapeText(&b, []byte(name))
	b.WriteString("</Name>\n    <Script><![CDATA[\n")
	b.WriteString(strings.ReplaceAll(strings.TrimSpace(text), "]]>", "]]]]><![CDATA[>"))
	b.WriteString("\n]]></Script>\n")
	if cron != "" {
		b.WriteString("    <CronExpression>")
		_ = xml.EscapeText(&b, []byte(cron))
		b.WriteString("</CronExpression>\n")
	}
	b.WriteString("</Analytics>\n")
	return b.Bytes()
}
