package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/sdk/cause"
)

func write(t *testing.T, home, file, content string) {
	t.Helper()
	path := filepath.Join(home, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func options(home string, properties ...string) config.Options {
	o := config.Options{Home: home, Properties: map[string]string{}, Env: func(name string) (string, bool) {
		v, ok := map[string]string{"PORT": "7", "WORD": "from-env", "YES": "true", "TRICK": "${secret:x}"}[name]
		return v, ok
	}}
	for _, p := range properties {
		k, v, _ := strings.Cut(p, "=")
		o.Properties[k] = v
	}
	return o
}

func load(t *testing.T, o config.Options) *config.Config {
	t.Helper()
	c, err := config.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultsWithoutAFile(t *testing.T) {
	s := load(t, options(t.TempDir())).Server
	if s.HTTP.V != 9763 || s.HTTPS.V != 9443 || s.PortOffset.V != 0 || s.TLSMinimum.V != "1.2" || s.UpdateInterval.V != 15*time.Second {
		t.Errorf("%+v", s)
	}
	if s.HTTP.Set() || s.KeyStore.Location.Set() || s.PortOffset.From.String() != "default" {
		t.Errorf("%+v", s.HTTP)
	}
}

// TestShippedFile: the carbon.xml of the repository says what the defaults say, and nothing in it is unknown.
func TestShippedFile(t *testing.T) {
	data, err := os.ReadFile("../../" + config.ServerFile)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	write(t, home, config.ServerFile, string(data))
	c := load(t, options(home))
	if len(c.Notices) != 0 {
		t.Errorf("%v", c.Notices)
	}
	d := load(t, options(t.TempDir())).Server
	s := c.Server
	if s.HTTPS.V != d.HTTPS.V || s.TLSMinimum.V != d.TLSMinimum.V || s.UploadLimit.V != d.UploadLimit.V || s.Name.V != d.Name.V || s.KeyStore.Location.V != "" {
		t.Errorf("%+v", s)
	}
	if !s.HTTPS.Set() || s.HTTPS.From.File != config.ServerFile || s.HTTPS.From.Line == 0 || len(s.Roles) != 1 {
		t.Errorf("%+v", s.HTTPS)
	}
}

// wso2 is a carbon.xml in the form that WSO2's products ship, declared as ISO-8859-1.
const wso2 = `<?xml version="1.0" encoding="ISO-8859-1"?>
<Server xmlns="http://wso2.org/projects/carbon/carbon.xml">
  <Name>WSO2 Data Analytics Server</Name>
  <ServerKey>DAS</ServerKey>
  <Version>3.1.0</Version>
  <HostName>node1.example.org</HostName>
  <ServerURL>local:/${carbon.context}/services/</ServerURL>
  <ServerRoles><Role>DataAnalyticsServer</Role><Role>ComplexEventProcessor</Role></ServerRoles>
  <Ports>
    <Offset>2</Offset>
    <JMX><RMIRegistryPort>9999</RMIRegistryPort></JMX>
  </Ports>
  <Axis2Config><RepositoryLocation>${carbon.home}/repository/deployment/server/</RepositoryLocation><DeploymentUpdateInterval>5</DeploymentUpdateInterval></Axis2Config>
  <Security>
    <KeyStore>
      <Location>${carbon.home}/repository/resources/security/wso2carbon.jks</Location>
      <Type>JKS</Type>
      <Password xmlns:svns="http://org.wso2.securevault/configuration" svns:secretAlias="Carbon.Security.KeyStore.Password">password</Password>
      <KeyAlias>wso2carbon</KeyAlias>
      <KeyPassword>wso2carbon</KeyPassword>
    </KeyStore>
    <TomcatRealm>UserManager</TomcatRealm>
  </Security>
  <DeploymentSynchronizer><Enabled>false</Enabled></DeploymentSynchronizer>
  <HostNme>typo</HostNme>
</Server>
`

func TestCarbonXMLOfWSO2(t *testing.T) {
	home := t.TempDir()
	write(t, home, config.ServerFile, wso2)
	write(t, home, config.SecretsFile, "Carbon.Security.KeyStore.Password: hush\n")
	c := load(t, options(home))
	s := c.Server
	if s.HostName.V != "node1.example.org" || s.HostName.From.String() != "repository/conf/carbon.xml:6" || s.HostName.From.Column != 13 {
		t.Errorf("%+v", s.HostName)
	}
	if s.PortOffset.V != 2 || s.UpdateInterval.V != 5*time.Second || len(s.Roles) != 2 {
		t.Errorf("%+v", s)
	}
	if s.KeyStore.Location.V != home+"/repository/resources/security/wso2carbon.jks" || s.KeyStore.Password.V != "hush" || s.KeyStore.KeyPassword.V != "wso2carbon" {
		t.Errorf("%+v", s.KeyStore)
	}
	var got []string
	for _, n := range c.Notices {
		got = append(got, n.String()+" | "+n.Fix)
	}
	want := []string{
		"CBN-CFG-004 repository/conf/carbon.xml:25: carbon.xml has no element HostNme; it is not used | Did you mean HostName?",
		"CBN-CFG-007 repository/conf/carbon.xml:5: 6 elements of carbon.xml have no effect here: Version, ServerURL, JMX, RepositoryLocation, TomcatRealm, DeploymentSynchronizer | Nothing has to be done; the lines may be removed.",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("notices\n%s", strings.Join(got, "\n"))
	}
}

func TestPortOffset(t *testing.T) {
	home := t.TempDir()
	write(t, home, config.ServerFile, "<Server><Ports><Offset>2</Offset></Ports></Server>")
	s := load(t, options(home, "portOffset=10")).Server
	if s.PortOffset.V != 10 || s.PortOffset.From.Layer != config.LayerArgument || s.PortOffset.From.String() != "-DportOffset" {
		t.Errorf("%+v", s.PortOffset)
	}
	for _, bad := range []string{"", "x", "-1", "60000", "1.5"} {
		if _, err := config.Load(options(home, "portOffset="+bad)); !errors.Is(err, config.ErrArgument) {
			t.Errorf("-DportOffset=%s: %v", bad, err)
		}
	}
}

func TestCarbonXMLFaults(t *testing.T) {
	for _, c := range []struct {
		text string
		kind *cause.Kind
		want string
	}{
		{"<Srv/>", config.ErrXML, "carbon.xml:1:1: the root is <Srv>, not <Server>"},
		{"<Server>\n<Ports><Offset>two</Offset></Ports></Server>", config.ErrXML, `carbon.xml:2:16: <Offset> is not right: CBN-CFG-006: "two" is no whole number`},
		{"<Server><Ports><HTTPS>65000</HTTPS>\n<Offset>1000</Offset></Ports></Server>", config.ErrXML, "carbon.xml:1:23: the port 65000 with the offset 1000 lies above 65535"},
		{"<Server><Security><TLS><MinimumVersion>SSLv3</MinimumVersion></TLS></Security></Server>", config.ErrXML, `"SSLv3" is none of 1.0, 1.1, 1.2, 1.3`},
		{"<Server><Name>${secret:x}</Name></Server>", config.ErrPlaceholder, "carbon.xml:1:15: <Name> cannot be resolved: CBN-CFG-020: ${secret:x}: repository/resources/security/secrets.yaml has no such alias"},
		{"<Server><Name>${env:NOPE}</Name></Server>", config.ErrPlaceholder, "the environment of the server has no NOPE"},
		{"<Server><Name>${file:nope}</Name></Server>", config.ErrPlaceholder, "${file:nope} cannot be read"},
		{"<Server><Name>${what}</Name></Server>", config.ErrPlaceholder, "${what} names nothing"},
		{"<Server><Name>${x:y}</Name></Server>", config.ErrPlaceholder, `there is no kind of placeholder "x"`},
		{"<Server><Name>${env:X</Name></Server>", config.ErrPlaceholder, "has no closing }"},
	} {
		home := t.TempDir()
		write(t, home, config.ServerFile, c.text)
		if _, err := config.Load(options(home)); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.text, err, c.want)
		}
	}
}

func TestTLSMinimumInTomcatsWords(t *testing.T) {
	home := t.TempDir()
	write(t, home, config.ServerFile, "<Server><Security><TLS><MinimumVersion>TLSv1.0</MinimumVersion></TLS></Security></Server>")
	if v := load(t, options(home)).Server.TLSMinimum.V; v != "1.0" {
		t.Error(v)
	}
}

const descriptor = `name: Sample
version: 1.0.0
summary: x
executable: bin/Sample
config:
  required: [word]
  properties:
    word: {type: string}
    port: {type: integer, minimum: 1, default: 5}
    ratio: {type: number}
    flag: {type: boolean, default: false}
    password: {type: string, x-secret: true}
    folder: {type: string, default: "${carbon.home}/x"}
    nested: {type: object, properties: {list: {type: array, items: {type: string}}}}
`

func sample(t *testing.T, home, yaml string, properties ...string) *config.Component {
	t.Helper()
	d, err := catalog.ParseDescriptor("plugins/Sample/1.0.0/component.yaml", []byte(descriptor))
	if err != nil {
		t.Fatal(err)
	}
	if yaml != "" {
		write(t, home, "repository/conf/components/Sample.yaml", yaml)
	}
	return load(t, options(home, properties...)).Component(d)
}

func TestComponent(t *testing.T) {
	home := t.TempDir()
	write(t, home, config.SecretsFile, "db: s3cret\n")
	write(t, home, "token.txt", "from-file\n")
	c := sample(t, home, `word: "${env:WORD} $${plain} ${mine}"
port: ${env:PORT}
flag: ${env:YES}
password: ${secret:db}
nested: {list: ["${file:token.txt}", b]}
wrod: typo
`, "mine=given")
	if c.Cause != nil {
		t.Fatal(c.Cause)
	}
	want := `{"flag":true,"folder":"` + home + `/x","nested":{"list":["from-file","b"]},"password":"s3cret","port":7,"word":"from-env ${plain} given"}`
	if string(c.JSON) != want {
		t.Errorf("%s", c.JSON)
	}
	shown := `{"flag":"${env:YES}","folder":"${carbon.home}/x","nested":{"list":["${file:token.txt}","b"]},"password":"***","port":"${env:PORT}","word":"${env:WORD} $${plain} ${mine}"}`
	if string(c.Redacted) != shown {
		t.Errorf("%s", c.Redacted)
	}
	if len(c.Notices) != 1 || !strings.Contains(c.Notices[0].String(), `repository/conf/components/Sample.yaml:6: the file has no key "wrod"; it is not used`) || c.Notices[0].Fix != `Did you mean "word"?` {
		t.Errorf("%v", c.Notices)
	}
	for pointer, want := range map[string]string{
		"/word": "repository/conf/components/Sample.yaml:1", "/nested/list/1": "repository/conf/components/Sample.yaml:5",
		"/folder": "plugins/Sample/1.0.0/component.yaml",
	} {
		if got := c.Origins[pointer]; got.String() != want {
			t.Errorf("%s stands at %s (%s), want %s", pointer, got, got.Layer, want)
		}
	}
	other := sample(t, home, "word: x\n")
	if len(other.Digest) != 64 || other.Digest == c.Digest || sample(t, home, "word: x\n# a comment\n").Digest != other.Digest {
		t.Error("the digest is not that of the values")
	}
}

// TestEnvironment: x-env stands above the file, and is no place to smuggle placeholders in.
func TestEnvironment(t *testing.T) {
	d, err := catalog.ParseDescriptor("c.yaml", []byte("name: Sample\nversion: 1.0.0\nsummary: x\nexecutable: x\nconfig:\n  properties:\n"+
		"    word: {type: string, x-env: WORD}\n    password: {type: string, x-secret: true, x-env: TRICK}\n    none: {type: string, x-env: NONE}\n"+
		"    deep: {type: object, properties: {port: {type: integer, x-env: PORT}}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	write(t, home, "repository/conf/components/Sample.yaml", "word: file\nnone: file\n")
	c := load(t, options(home)).Component(d)
	if c.Cause != nil {
		t.Fatal(c.Cause)
	}
	if want := `{"deep":{"port":7},"none":"file","password":"${secret:x}","word":"from-env"}`; string(c.JSON) != want {
		t.Errorf("%s", c.JSON)
	}
	if want := `{"deep":{"port":"${env:PORT}"},"none":"file","password":"***","word":"${env:WORD}"}`; string(c.Redacted) != want {
		t.Errorf("%s", c.Redacted)
	}
	for pointer, want := range map[string]string{"/word": "environment $WORD", "/none": "file repository/conf/components/Sample.yaml:2", "/deep/port": "environment $PORT"} {
		if got := c.Origins[pointer]; string(got.Layer)+" "+got.String() != want {
			t.Errorf("%s: %s %s, want %s", pointer, got.Layer, got, want)
		}
	}
}

func TestComponentFaults(t *testing.T) {
	for _, c := range []struct{ yaml, code, want string }{
		{"", "CBN-CFG-003", `repository/conf/components/Sample.yaml:1: the file needs "word"`},
		{"word: x\nport: 0\n", "CBN-CFG-003", "Sample.yaml:2: port: minimum: got 0, want 1"},
		{"word: x\nport: ${env:WORD}\n", "CBN-CFG-003", "Sample.yaml:2: port is a string, but must be an integer"},
		{"word: 1\n", "CBN-CFG-003", "Sample.yaml:1: word is a number, but must be a string"},
		{"- x\n", "CBN-CFG-003", "the file must hold keys and values"},
		{"word: x\nword: y\n", "CBN-CFG-001", "Sample.yaml:2: the key \"word\" stands twice"},
		{"word: x\npassword: ${secret:none}\n", "CBN-CFG-020", "Sample.yaml:2: a value cannot be resolved"},
	} {
		got := sample(t, t.TempDir(), c.yaml)
		if got.Cause == nil || got.Cause.Code != c.code || !strings.Contains(got.Cause.String(), c.want) {
			t.Errorf("%q: %v, want %s", c.yaml, got.Cause, c.want)
		}
		if len(got.JSON) != 0 {
			t.Errorf("%q: half a configuration: %s", c.yaml, got.JSON)
		}
	}
}

// TestSecretsStaySecret: neither messages nor the printed form hold a secret, right or wrong.
func TestSecretsStaySecret(t *testing.T) {
	home := t.TempDir()
	write(t, home, config.SecretsFile, "db: hush-hush\n")
	strict := strings.Replace(descriptor, "x-secret: true", "x-secret: true, pattern: '^[0-9]+$', format: email, enum: ['1']", 1)
	d, err := catalog.ParseDescriptor("c.yaml", []byte(strict))
	if err != nil {
		t.Fatal(err)
	}
	write(t, home, "repository/conf/components/Sample.yaml", "word: x\npassword: ${secret:db}\n")
	c := load(t, options(home)).Component(d)
	if c.Cause == nil || strings.Contains(c.Cause.String(), "hush") || !strings.Contains(c.Cause.String(), "Sample.yaml:2: password is a secret") {
		t.Errorf("%v", c.Cause)
	}
}

func TestSecretsFile(t *testing.T) {
	home := t.TempDir()
	write(t, home, config.SecretsFile, "db: x\n")
	path := filepath.Join(home, config.SecretsFile)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if c := sample(t, home, "word: ${secret:db}\n"); c.Cause == nil || !strings.Contains(c.Cause.String(), "others than its owner may read the file (mode 0644)") {
		t.Errorf("%v", c.Cause)
	}
	write(t, home, config.SecretsFile, "db: 5\n")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := sample(t, home, "word: ${secret:db}\n"); c.Cause == nil || !strings.Contains(c.Cause.String(), "secrets.yaml:1: the value of db is no text") {
		t.Errorf("%v", c.Cause)
	}
}

func TestOrphans(t *testing.T) {
	home := t.TempDir()
	write(t, home, "repository/conf/components/Gone.yaml", "a: 1\n")
	write(t, home, "repository/conf/components/Sample.yaml", "a: 1\n")
	got := load(t, options(home)).Orphans([]string{"Sample"})
	if len(got) != 1 || got[0].String() != "CBN-CFG-007 repository/conf/components/Gone.yaml: no component Gone is installed" {
		t.Errorf("%v", got)
	}
}

func FuzzComponent(f *testing.F) {
	d, err := catalog.ParseDescriptor("c.yaml", []byte(descriptor))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("word: x\nport: ${env:PORT}\n")
	f.Add("word: ${${}}\nnested: {list: [$${x}]}\n")
	f.Fuzz(func(t *testing.T, yaml string) {
		home := t.TempDir()
		write(t, home, "repository/conf/components/Sample.yaml", yaml)
		c := load(t, options(home)).Component(d)
		if (c.Cause == nil) != (len(c.JSON) > 0) {
			t.Fatalf("%+v", c)
		}
	})
}
