#include "text/pre_tokenizer.h"

#include <algorithm>

namespace diffulex::text {
namespace {

struct Part {
  Span span;
  bool match;
};

void find_literal(std::string_view text, std::string_view literal, std::vector<Span>& out) {
  for (size_t pos = text.find(literal); pos != std::string_view::npos;
       pos = text.find(literal, pos + literal.size())) {
    out.push_back({pos, pos + literal.size()});
  }
}

// Covers the text with matches and what is between them.
void partition(std::string_view text, const std::vector<Span>& matches, bool invert,
               std::vector<Part>& parts) {
  size_t end = 0;
  for (const Span& match : matches) {
    if (match.begin > end) parts.push_back({{end, match.begin}, invert});
    parts.push_back({match, !invert});
    end = match.end;
  }
  if (end < text.size()) parts.push_back({{end, text.size()}, invert});
}

// Every match joins the part before it, unless that is a match too.
void merge_with_previous(std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool after_match = false;
  for (const Part& part : parts) {
    if (part.match && !after_match && !merged.empty()) {
      merged.back().span.end = part.span.end;
    } else {
      merged.push_back(part);
    }
    after_match = part.match;
  }
  parts.swap(merged);
}

void merge_with_next(std::vector<Part>& parts) {
  std::vector<Part> merged;
  bool before_match = false;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (part->match && !before_match && !merged.empty()) {
      merged.back().span.begin = part->span.begin;
    } else {
      merged.push_back(*part);
    }
    before_match = part->match;
  }
  std::reverse(merged.begin(), merged.end());
  parts.swap(merged);
}

void merge_equal(std::vector<Part>& parts) {
  std::vector<Part> merged;
  for (const Part& part : parts) {
    if (!merged.empty() && merged.back().match == part.match) {
      merged.back().span.end = part.span.end;
    } else {
      merged.push_back(part);
    }
  }
  parts.swap(merged);
}

void apply(SplitBehavior behavior, std::vector<Part>& parts) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      break;
    case SplitBehavior::kRemoved:
      parts.erase(std::remove_if(parts.begin(), parts.end(), [](const Part& p) { return p.match; }),
                  parts.end());
      break;
    case SplitBehavior::kMergedWithPrevious:
      merge_with_previous(parts);
      break;
    case SplitBehavior::kMergedWithNext:
      merge_with_next(parts);
      break;
    case SplitBehavior::kContiguous:
      merge_equal(parts);
      break;
  }
}

class StepRun {
 public:
  StepRun(const PreTokenizerStep& step, Pieces& pieces) : step_(step), pieces_(pieces) {}

  void run() {
    std::vector<std::string_view> input;
    input.swap(pieces_.views);
    for (std::string_view piece : input) {
      if (step_.prefix_space && piece.front() != ' ') {
        piece = pieces_.owned.emplace_back(1, ' ').append(piece);
      }
      split(piece);
    }
  }

 private:
  void split(std::string_view piece) {
    if (step_.words) {
      split_words(piece);
      return;
    }
    if (!step_.regex && step_.literal.empty()) {
      pieces_.views.push_back(piece);
      return;
    }
    matches_.clear();
    parts_.clear();
    if (step_.regex) {
      step_.regex->find_all(piece, matches_);
    } else {
      find_literal(piece, step_.literal, matches_);
    }
    partition(piece, matches_, step_.invert, parts_);
    apply(step_.behavior, parts_);
    for (const Part& part : parts_) {
      if (part.span.begin < part.span.end) {
        pieces_.views.push_back(piece.substr(part.span.begin, part.span.end - part.span.begin));
      }
    }
  }

  void split_words(std::string_view piece) {
    for (size_t begin = 0; begin < piece.size();) {
      const size_t end = step_.words->match(piece, begin);
      pieces_.views.push_back(piece.substr(begin, end - begin));
      begin = end;
    }
  }

  const PreTokenizerStep& step_;
  Pieces& pieces_;
  std::vector<Span> matches_;
  std::vector<Part> parts_;
};

}  // namespace

Pieces PreTokenizer::cut(std::string_view text) const {
  Pieces pieces;
  if (!text.empty()) pieces.views.push_back(text);
  for (const PreTokenizerStep& step : steps_) StepRun(step, pieces).run();
  return pieces;
}

}  // namespace diffulex::text
