// How a running request is shown: live (the canvas, redrawn after each step), plain (committed text as it comes), or not at all.
#pragma once

#include <string>
#include <vector>

#include "session.h"

namespace diffulex_command {

enum class ViewKind { kLive, kPlain, kNone };
ViewKind view_kind(const std::string& name);  // "auto": live on a terminal, plain elsewhere

// Runs a request to its end under a view; returns its committed text.
class View {
 public:
  View(Session& session, ViewKind kind, bool status_line) : session_(session), kind_(kind), status_line_(status_line) {}
  std::string run(diffulex_request_id id);

 private:
  void draw(diffulex_request_id id, bool last);
  void clear_drawing();
  std::string canvas(int columns);
  std::string status(const diffulex_request_info& info, bool last) const;

  Session& session_;
  ViewKind kind_;
  bool status_line_;
  diffulex_snapshot snapshot_{};
  std::vector<diffulex_slot> slots_;
  std::vector<diffulex_block> blocks_;
  int lines_drawn_ = 0;
  uint64_t started_ns_ = 0;
};

}  // namespace diffulex_command
