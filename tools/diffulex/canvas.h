// Text laid out in the columns of a terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace diffulex_command {

class Canvas {
 public:
  Canvas(int columns, bool colours) : columns_(columns), colours_(colours), lines_(1) {}

  // Appends UTF-8 text; newlines break the line. sgr: parameters of the colour, "" for none.
  void put(std::string_view text, const char* sgr);
  // Each line closes the colours that it opens: any of them may be left out.
  const std::vector<std::string>& lines() const { return lines_; }

 private:
  void new_line();
  void append(std::string_view character, int width, const char* sgr);

  int columns_;
  bool colours_;
  int used_ = 0;           // columns of the last line
  const char* open_ = "";  // colour of the last line's end
  std::vector<std::string> lines_;
};

}  // namespace diffulex_command
