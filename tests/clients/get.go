package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

type verdict struct {
	Rows     *int    `json:"rows"`
	Sum      *int    `json:"sum"`
	Encoding *string `json:"encoding"`
	Error    *string `json:"error"`
}

// Reads a list; what came of it before an error too.
func get(url, how, encoding string, said *verdict) (body []byte, err error) {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return nil, err
	}
	// It asks for gzip by itself, and decodes it, unless it is told otherwise.
	if encoding != "gzip" {
		request.Header.Set("Accept-Encoding", encoding)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.Uncompressed {
		gzip := "gzip"
		said.Encoding = &gzip
	} else if named := response.Header.Get("Content-Encoding"); named != "" {
		said.Encoding = &named
	}
	if how == "whole" {
		return io.ReadAll(response.Body)
	}
	part, second := make([]byte, 16*1024), []byte(`"id":2,`)
	for {
		n, err := response.Body.Read(part)
		here := bytes.Contains(body, second)
		body = append(body, part[:n]...)
		if !here && bytes.Contains(body, second) {
			fmt.Println("rows are here")
		}
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return body, err
		}
	}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var said verdict
		asked := strings.Fields(lines.Text())
		body, err := get(asked[0], asked[1], asked[2], &said)
		if err != nil {
			text := err.Error()
			said.Error = &text
		}
		var list struct{ Results []struct{ Id int } }
		if json.Unmarshal(body, &list) == nil {
			rows, sum := len(list.Results), 0
			for _, row := range list.Results {
				sum += row.Id
			}
			said.Rows, said.Sum = &rows, &sum
		}
		line, _ := json.Marshal(said)
		fmt.Println(string(line))
	}
}
