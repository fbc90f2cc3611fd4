// A parsed template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/arguments.h"
#include "text/jinja/arithmetic.h"
#include "text/jinja/run.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

using Filter = Value (*)(Run& run, const Value& input, const Arguments& arguments);
using Test = bool (*)(Run& run, const Value& input, const Arguments& arguments);

struct Expr;
using ExprPtr = std::unique_ptr<const Expr>;

// Immutable once parsed, like all nodes.
struct Expr {
  enum class Type : uint8_t {
    kConstant,
    kName,         // name
    kList,         // children
    kTuple,        // children
    kDict,         // children: key, value, key, value, ...
    kNot,          // children: operand
    kNegate,       // children: operand
    kPlus,         // children: operand
    kAnd,          // children: left, right
    kOr,           // children: left, right
    kConditional,  // children: condition, value, other value or null
    kBinary,       // operators: one; children: left, right
    kConcat,       // children
    kCompare,      // children: one more than operators
    kAttribute,    // name; children: value
    kElement,      // children: value, key
    kSlice,        // children: value, start, stop, step, the latter three may be null
    kCall,         // children: callee, arguments; named
    kFilter,       // name, filter; children: input, arguments; named
    kTest,         // name, test; children: input, arguments; named
    kCaptured      // the text of the block that a filter is applied to
  };

  Type type;
  int line;
  int depth = 1;  // of the tree
  std::string name;
  Value constant;
  std::vector<ExprPtr> children;
  std::vector<std::pair<std::string, ExprPtr>> named;
  std::vector<Operator> operators;
  Filter filter = nullptr;  // null: there is none of that name
  Test test = nullptr;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<const Stmt>>;

struct Branch {
  ExprPtr condition;
  Block body;
};

struct Parameter {
  std::string name;
  ExprPtr absent;  // value where none is given; may be null
};

struct Stmt {
  enum class Type : uint8_t {
    kText,      // text
    kPrint,     // value
    kIf,        // branches, other
    kFor,       // target, value, condition or null, body, other
    kSet,       // target, value
    kSetBlock,  // target, value (filters of what is captured), body
    kMacro,     // text: its name; parameters, body
    kFilter,    // value (filters of what is captured), body
    kWith,      // assignments, body
    kScope,     // body, with its own variables
    kBreak,
    kContinue
  };

  Type type;
  int line;
  std::string text;
  ExprPtr target, value, condition;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  Block body, other;
};

}  // namespace diffulex::jinja
