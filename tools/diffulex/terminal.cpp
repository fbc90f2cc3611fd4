#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace diffulex_command {
namespace {

volatile std::sig_atomic_t caught = 0;

void on_interrupt(int) {
  if (caught != 0) {
    constexpr char show_cursor[] = "\x1b[?25h\x1b[0m\n";
    (void)!write(STDERR_FILENO, show_cursor, sizeof(show_cursor) - 1);
    _exit(130);
  }
  caught = 1;
}

}  // namespace

int terminal_columns() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool colours_wanted() {
  const char* no = std::getenv("NO_COLOR");
  return no == nullptr || *no == '\0';
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return caught != 0; }
void clear_interrupt() { caught = 0; }

}  // namespace diffulex_command
