// Package strictyaml reads the YAML that people write for Ruche. What it does not understand it refuses, and says where:
// unknown keys, keys given twice, values of the wrong type, several documents in one file. It is the only
// importer of the YAML library.
package strictyaml
