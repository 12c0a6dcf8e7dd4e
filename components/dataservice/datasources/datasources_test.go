package datasources

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
)

const shipped = "../../../repository/conf/datasources/" + FileName

func TestTheShippedFileIsTheDefault(t *testing.T) {
	set, err := Read(filepath.FromSlash(shipped))
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Notices) != 0 || len(set.Sources) != 3 {
		t.Fatalf("%+v", set)
	}
	for i, d := range Default().Sources {
		if set.Sources[i].Name != d.Name || set.Sources[i].Type != d.Type {
			t.Fatalf("source %d is %+v", i, set.Sources[i])
		}
	}
	if want := []string{"EVENT_STORE", "PROCESSED_DATA_STORE"}; !slices.Equal(set.RecordStores(), want) {
		t.Fatalf("record stores %v", set.RecordStores())
	}
	missing, err := Read(filepath.Join(t.TempDir(), FileName))
	if err != nil || !slices.Equal(missing.RecordStores(), set.RecordStores()) {
		t.Fatalf("without a file: %+v %v", missing, err)
	}
}

// das is the shape of the file that DAS 3.1 ships: H2, the RDBMS provider, no FS_DB.
const das = `<datasources-configuration xmlns:svns="http://org.wso2.securevault/configuration">
  <providers>
    <provider>org.wso2.carbon.ndatasource.rdbms.RDBMSDataSourceReader</provider>
  </providers>
  <datasources>
    <datasource>
      <name>WSO2_ANALYTICS_EVENT_STORE_DB</name>
      <description>events</description>
      <definition type="RDBMS"><configuration>
        <url>jdbc:h2:repository/database/ANALYTICS_EVENT_STORE;AUTO_SERVER=TRUE</url>
        <username>wso2carbon</username>
      </configuration></definition>
    </datasource>
    <datasource>
      <name>WSO2_ANALYTICS_PROCESSED_DATA_STORE_DB</name>
      <definition type="RDBMS"><configuration><url>jdbc:h2:x</url></configuration></definition>
    </datasource>
  </datasources>
</datasources-configuration>`

func TestACopiedFileOfDASWorksWithNotices(t *testing.T) {
	set, err := Parse("a.xml", []byte(das))
	if err != nil {
		t.Fatal(err)
	}
	if len(set.RecordStores()) != 2 || len(set.Notices) != 3 || !strings.HasPrefix(set.Notices[1], "a.xml:10:") {
		t.Fatalf("%+v", set)
	}
}

func TestMistakesNameTheirPlace(t *testing.T) {
	for _, x := range []struct {
		name, from, to string
		kind           *cause.Kind
		line           int
	}{
		{"another database", "jdbc:h2:x", "jdbc:postgresql://h/d", ErrType, 16},
		{"unknown provider", "RDBMSDataSourceReader", "NoSuchReader", ErrFile, 3},
		{"unknown element", "<description>events</description>", "<desc>events</desc>", ErrFile, 8},
		{"missing datasource", "WSO2_ANALYTICS_PROCESSED_DATA_STORE_DB", "OTHER", ErrFile, 1},
		{"no type", ` type="RDBMS"><configuration><url>jdbc:h2:x`, `><configuration><url>jdbc:h2:x`, ErrFile, 16},
		{"twice", "WSO2_ANALYTICS_PROCESSED_DATA_STORE_DB", "WSO2_ANALYTICS_EVENT_STORE_DB", ErrFile, 14},
		{"settings of the embedded store", `type="RDBMS"><configuration><url>jdbc:h2:x`, `type="EMBEDDED"><configuration><url>jdbc:h2:x`, ErrFile, 16},
		{"wrong root", "datasources-configuration", "wrong", ErrFile, 1},
		{"DOCTYPE", "<datasources-configuration", "<!DOCTYPE x [<!ENTITY a \"b\">]>\n<datasources-configuration", carbonxml.ErrXML, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			text := strings.ReplaceAll(das, x.from, x.to)
			if x.name == "DOCTYPE" {
				text = strings.Replace(das, x.from, x.to, 1)
			}
			_, err := Parse("a.xml", []byte(text))
			if !errors.Is(err, x.kind) {
				t.Fatalf("%v, want %s", err, x.kind.ID())
			}
			if file, line, _ := cause.From(err).Position(); file != "a.xml" || line != x.line {
				t.Fatalf("%s:%d, want line %d: %v", file, line, x.line, err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	b, err := os.ReadFile(filepath.FromSlash(shipped))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(das))
	f.Fuzz(func(t *testing.T, b []byte) {
		if set, err := Parse("f.xml", b); err == nil && len(set.RecordStores()) != 2 {
			t.Fatalf("%+v", set)
		}
	})
}
