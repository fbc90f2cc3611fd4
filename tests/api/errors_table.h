// The table of docs/errors.md.
#pragma once

#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace diffulex_tests::errors {

struct Row {
  std::string name, sentence, status;
  std::vector<std::pair<std::string, std::string>> details;  // key and value; "": any value
};

// The text between the first pair of backticks from `at` on; empty behind the last. Moves `at`.
inline std::string next_code(const std::string& text, size_t* at) {
  const size_t begin = text.find('`', *at);
  if (begin == std::string::npos) return "";
  const size_t end = text.find('`', begin + 1);
  if (end == std::string::npos) throw std::runtime_error("an open backtick: " + text);
  *at = end + 1;
  return text.substr(begin + 1, end - begin - 1);
}

inline Row parse_row(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream in(line.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) cells.push_back(cell);
  if (cells.size() != 4) throw std::runtime_error("not four cells: " + line);
  Row row;
  size_t at = 0;
  row.name = next_code(cells[0], &at);
  row.sentence = cells[1];
  at = 0;
  row.status = next_code(cells[2], &at);
  at = 0;
  for (std::string code; !(code = next_code(cells[3], &at)).empty();) {
    const size_t equals = code.find(" = ");
    if (equals == std::string::npos) {
      row.details.emplace_back(code, "");
    } else {
      row.details.emplace_back(code.substr(0, equals), code.substr(equals + 3));
    }
  }
  return row;
}

// Rows are the lines that begin with a code-formatted name.
inline std::vector<Row> read_table() {
  std::ifstream in(std::string(DIFFULEX_DOCS_DIR) + "/errors.md");
  std::vector<Row> rows;
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("| `")) rows.push_back(parse_row(line));
  return rows;
}

}  // namespace diffulex_tests::errors
