#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace diffulex_command {
namespace {

volatile std::sig_atomic_t caught = 0;
volatile std::sig_atomic_t cursor_hidden = 0;

void leave(int signal) {  // called by handlers: async-signal-safe calls only
  constexpr char kShow[] = "\x1b[0m\x1b[?25h\n";
  if (cursor_hidden != 0) (void)!write(STDOUT_FILENO, kShow, sizeof(kShow) - 1);
  _exit(128 + signal);
}

void on_interrupt(int signal) {
  if (caught != 0) leave(signal);
  caught = 1;
}

}  // namespace

TerminalSize terminal_size(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {80, 24};
  return {size.ws_col, size.ws_row};
}

bool stdout_is_terminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) != 0 && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

bool colours_wanted() {
  const char* no = std::getenv("NO_COLOR");
  return no == nullptr || *no == '\0';
}

HiddenCursor::HiddenCursor(bool hide) : hidden_(hide) {
  if (!hidden_) return;
  cursor_hidden = 1;
  std::fputs("\x1b[?25l", stdout);
}

HiddenCursor::~HiddenCursor() {
  if (!hidden_) return;
  std::fputs("\x1b[?25h", stdout);
  std::fflush(stdout);
  cursor_hidden = 0;
}

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: ^C also ends a wait for input
  sigaction(SIGINT, &action, nullptr);
  action.sa_handler = leave;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGHUP, &action, nullptr);
}

bool interrupted() { return caught != 0; }
void clear_interrupt() { caught = 0; }

}  // namespace diffulex_command
