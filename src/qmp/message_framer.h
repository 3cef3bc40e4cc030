// SPDX-License-Identifier: Apache-2.0
//
// MessageFramer: cuts a stream of bytes into JSON values. What ends a value is its last brace or bracket, not a line;
// several values may share a line, and one may come in pieces. Rules, limits and the way back after an error are those
// of the reference, so that the same garbage gets the same number of answers:
//
//   * Strings may be 'quoted' "either way"; they end up in double quotes.
//   * A byte that fits nowhere makes one error, and everything is skipped from there to a control character or one of
//     {}[]:, which is looked at afresh. What had been read of the value is dropped.
//   * A value ends as soon as no brace and no bracket is open, or more have been closed than opened.

#ifndef JOBCORE_QMP_MESSAGE_FRAMER_H_
#define JOBCORE_QMP_MESSAGE_FRAMER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "job-common/fwd.h"

namespace jobcore::inline JOBCORE_ABI::qmp {

class MessageFramer {
 public:
  struct Limits {
    int depth = 1024;                 // braces and brackets open at a time
    size_t bytes = size_t{64} << 20;  // of a value
    size_t tokens = size_t{2} << 20;  // strings, numbers, keywords, punctuation of a value
  };
  // The text of a value, balanced and made of tokens that JSON knows, to be parsed; or why there is none.
  using Emit = absl::FunctionRef<void(absl::StatusOr<std::string>)>;

  MessageFramer() : MessageFramer(Limits()) {}
  explicit MessageFramer(const Limits& limits) : limits_(limits) {}

  // Calls `emit` for each value that these bytes complete, in order.
  void Feed(std::string_view bytes, Emit emit);
  // Bytes of the value that has begun.
  size_t pending() const { return text_.size(); }

 private:
  // What the lexer is in the middle of.
  enum class State : unsigned char {
    kBetween,       // tokens
    kString,        // up to quote_
    kEscape,        // behind a backslash in there
    kMinus,         // a digit must follow
    kZero,          // … none may follow
    kInteger,       // digits
    kPoint,         // a digit must follow
    kFraction,      // digits
    kExponent,      // a sign or a digit must follow
    kExponentSign,  // a digit must follow
    kExponentDigits,
    kKeyword,  // lower-case letters
    kSkip,     // after an error
  };

  void Take(char byte, Emit emit);
  bool Continue(char byte, Emit emit);
  void Begin(char byte, Emit emit);
  void ContinueString(char byte, Emit emit);
  void ContinueEscape(char byte, Emit emit);
  // A whole token has been added to text_, from token_begin_ on.
  void EndToken(Emit emit);
  void EndKeyword(Emit emit);
  void EndValue(Emit emit);
  void Stray(char byte, Emit emit);
  void Fail(const std::string& what, Emit emit);
  void Reset();

  const Limits limits_;
  State state_ = State::kBetween;
  char quote_ = '"';
  std::string text_;        // of the value so far
  size_t token_begin_ = 0;  // in text_: of the token that has begun
  size_t tokens_ = 0;
  int braces_ = 0;           // open
  int brackets_ = 0;         // open
  std::string bad_keyword_;  // the first; empty: none
};

}  // namespace jobcore::inline JOBCORE_ABI::qmp

#endif  // JOBCORE_QMP_MESSAGE_FRAMER_H_
