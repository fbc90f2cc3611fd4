// The terminal: its size, colours, cursor, and interruption by the user.
#pragma once

namespace diffulex_command {

struct TerminalSize {
  int columns, rows;
};
TerminalSize terminal_size(int fd);  // 80 by 24 when it does not say
bool stdout_is_terminal();           // one that understands cursor movements
bool colours_wanted();               // NO_COLOR is honoured

// Hides the cursor while it lives. A signal that ends the process shows it again.
class HiddenCursor {
 public:
  explicit HiddenCursor(bool hide);
  ~HiddenCursor();
  HiddenCursor(const HiddenCursor&) = delete;
  HiddenCursor& operator=(const HiddenCursor&) = delete;

 private:
  bool hidden_;
};

// The first interruption (^C) only sets a flag; the second ends the process.
void catch_signals();
bool interrupted();
void clear_interrupt();

inline constexpr int kInterruptedExit = 130;  // 128 + SIGINT, as shells count

}  // namespace diffulex_command
