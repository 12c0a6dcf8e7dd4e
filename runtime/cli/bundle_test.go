package cli

import (
	"strings"
	"testing"
)

// Secrets are taken out in every form in which configuration and logs hold them; what is not secret stays.
func TestASupportBundleHoldsNoSecret(t *testing.T) {
	const secret = "Tr0ub4dor"
	for _, text := range []string{
		"<password>" + secret + "</password>", `<Password encrypted="true">` + secret + "</Password>", "<KeyPassword>" + secret + "</KeyPassword>",
		`<datasource password="` + secret + `" user="x"/>`, `<x apiKey='` + secret + `'/>`, "password: " + secret, `  dbPassword: "` + secret + `"`, "api_key: " + secret + " ",
		`{"user":"x","password":"` + secret + `","n":1}`, `{"token": "` + secret + `\"more` + secret + `"}`, "password=" + secret, "log: login password=" + secret + " refused", "client.secret = " + secret,
		"Authorization: Basic " + secret, "authorization: Bearer " + secret + ".x.y", "jdbc:postgresql://user:" + secret + "@host/db", "the value is " + secret,
	} {
		known := []string(nil)
		if strings.HasPrefix(text, "the value") {
			known = []string{secret}
		}
		if got := string(redact([]byte("first line\n"+text+"\nlast line\n"), known)); strings.Contains(got, secret) || !strings.Contains(got, "***") || !strings.HasPrefix(got, "first line\n") || !strings.HasSuffix(got, "\nlast line\n") {
			t.Errorf("%s became %s", text, got)
		}
	}
	for _, text := range []string{
		"<HostName>analytics.example</HostName>", "port: 7611", `{"name":"DataService","state":"ACTIVE"}`, "https://localhost:9443/api", "2026-11-25T10:00:00Z [INFO] carbonado: state: component=DataService",
	} {
		if got := string(redact([]byte(text), nil)); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}
