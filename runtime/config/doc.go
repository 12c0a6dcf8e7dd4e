// Package config reads repository/conf: carbon.xml, the components' YAML files, secrets. Every value knows its file, line
// and layer. It must not know which components run, nor what any component means by its keys.
package config
