// Reads CSV from its input with Go's reader, which takes no record of another width, and prints the records as JSON.
package main

import (
	"encoding/csv"
	"encoding/json"
	"os"
)

func main() {
	records, err := csv.NewReader(os.Stdin).ReadAll()
	if err != nil {
		panic(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(records); err != nil {
		panic(err)
	}
}
