// Package fsx holds what Ruche needs of the file system beyond package os: files that are replaced
// as a whole or not at all, a lock on a directory, and word of changes in a directory.
package fsx
