// Package config reads the settings of Ruche from where people put them: defaults, a YAML file, RUCHE_* environment variables and
// flags, the later over the earlier. One table says all about each setting.
package config
