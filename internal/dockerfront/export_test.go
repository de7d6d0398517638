package dockerfront

// MayRead is mayRead.
var MayRead = mayRead
