// The text of consecutive slots of a canvas. A character may take several tokens: it comes with the
// last of them.
#pragma once

#include <memory>
#include <string>

#include "diffulex.h"

namespace diffulex_command {

class SlotText {
 public:
  explicit SlotText(const diffulex_tokenizer* tokenizer);
  std::string next(diffulex_token token);  // special tokens are shown as a mark
  std::string end();                       // of a run: what is held back

 private:
  bool is_special(diffulex_token token) const;

  struct Destroy {
    void operator()(diffulex_detok* d) const { diffulex_detok_destroy(d); }
  };
  const diffulex_tokenizer* tokenizer_;
  std::unique_ptr<diffulex_detok, Destroy> detok_;
};

}  // namespace diffulex_command
