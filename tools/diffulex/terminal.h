// The terminal: its width, colours, and interruption by the user.
#pragma once

namespace diffulex_command {

int terminal_columns();  // of stdout; 80 when it does not say
bool colours_wanted();   // NO_COLOR is honoured

// The first interruption (^C) only sets a flag; the second ends the process.
void catch_interrupts();
bool interrupted();
void clear_interrupt();

}  // namespace diffulex_command
