// Incremental reader of one JSON value or one Python literal, byte by byte.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace irt {

// ---- UTF-8 of byte streams that may be cut anywhere or be wrong -------------------------------

// Appends `code_point`; a surrogate or a value above U+10FFFF becomes U+FFFD.
void append_code_point(std::string& out, char32_t code_point);

// Copies bytes to a string that is valid UTF-8 after every call. Every maximal ill-formed
// sequence becomes one U+FFFD, as `bytes.decode("utf-8", "replace")` does in Python.
class Utf8Cleaner {
 public:
  void push(char byte, std::string& out);
  // Ends an unfinished sequence, at the end of the text or before a character that is not text.
  void flush(std::string& out);

 private:
  std::array<char, 4> held_{};
  std::size_t have_ = 0;
  std::size_t need_ = 0;
  unsigned char low_ = 0x80;  // bounds of the next continuation byte
  unsigned char high_ = 0xBF;
};

// ---- literals ------------------------------------------------------------------------------

[[nodiscard]] constexpr bool is_space(char byte) noexcept {
  return byte == ' ' || (byte >= '\t' && byte <= '\r');  // \t \n \v \f \r
}

enum class LexemeKind {
  kBeginObject,
  kEndObject,
  kBeginArray,
  kEndArray,
  kKey,
  kString,
  kNumber,
  kTrue,
  kFalse,
  kNull
};

struct Lexeme {
  LexemeKind kind = LexemeKind::kNull;
  int depth = 0;           // containers around it; a begin and its end have the same depth
  std::size_t offset = 0;  // of its first byte in the stream
  std::string_view text;   // key, string (decoded, valid UTF-8) or number; dies with the call
};

class LexemeSink {
 public:
  // False: nothing more is wanted, the reader stops.
  virtual bool on_lexeme(const Lexeme& lexeme) = 0;

 protected:
  LexemeSink() = default;
  LexemeSink(const LexemeSink&) = default;
  LexemeSink& operator=(const LexemeSink&) = default;
  ~LexemeSink() = default;
};

// A push-down automaton over bytes: the state after n bytes depends on those bytes alone, never on
// how they were cut. Constant work per byte; memory bounded by the limits below.
//
// Accepts the union of JSON and of Python's displays of dict, list, str, int, float, bool and None:
// either quote, true/True/false/False/null/None, trailing commas, and the escapes of both: one
// letter, \xXX, \uXXXX (surrogates pair up), \UXXXXXXXX. As in Python, an unknown escape keeps its
// backslash. Raw control characters in strings are text. A lone surrogate and invalid UTF-8 become
// U+FFFD. Keys are quoted strings. A word (true, None, ...) is complete with its last letter: what
// follows can break the literal but cannot take the word back.
class LiteralReader {
 public:
  static constexpr std::size_t kMaxStringBytes = 64 * 1024;  // decoded
  static constexpr std::size_t kMaxNumberBytes = 64;
  static constexpr int kMaxDepth = 32;

  enum class Status { kOpen, kClosed, kStopped, kFailed };

  // Takes the byte at `offset` of the stream; ignored unless status() is kOpen.
  void feed(char byte, std::size_t offset, LexemeSink& sink);

  [[nodiscard]] Status status() const noexcept { return status_; }
  // What was wrong, as static text; empty unless kFailed.
  [[nodiscard]] std::string_view problem() const noexcept { return problem_; }

 private:
  enum class Lex { kBetween, kString, kEscape, kHex, kNumber, kWord };
  enum class Expect { kValue, kValueOrEnd, kKeyOrEnd, kColon, kCommaOrEnd };

  void structure(char byte, std::size_t offset, LexemeSink& sink);
  void open(bool object, std::size_t offset, LexemeSink& sink);
  void close(bool object, std::size_t offset, LexemeSink& sink);
  void begin_string(char quote, std::size_t offset);
  void string_byte(char byte, LexemeSink& sink);
  void escape_byte(char byte);
  void hex_byte(char byte);
  void end_code_point();
  void text_byte(char byte);
  void drop_surrogate();
  void end_string(LexemeSink& sink);
  void begin_word(char byte, std::size_t offset);
  void word_byte(char byte, LexemeSink& sink);
  void end_number(LexemeSink& sink);
  void value(LexemeKind kind, std::string_view text, LexemeSink& sink);
  void emit(LexemeKind kind, std::size_t offset, std::string_view text, LexemeSink& sink);
  void after_value();
  void fail(std::string_view problem);
  [[nodiscard]] bool value_may_begin() const noexcept {
    return expect_ == Expect::kValue || expect_ == Expect::kValueOrEnd;
  }

  Status status_ = Status::kOpen;
  Lex lex_ = Lex::kBetween;
  Expect expect_ = Expect::kValue;
  std::array<bool, kMaxDepth> is_object_{};
  int depth_ = 0;

  std::string text_;       // of the string or number under way
  std::size_t start_ = 0;  // its offset
  char quote_ = 0;         // which quote ends the string
  bool is_key_ = false;    // the string is a key
  Utf8Cleaner utf8_;
  char32_t code_point_ = 0;  // of the escape under way
  int hex_left_ = 0;         // digits that the escape still needs
  char32_t surrogate_ = 0;   // a high surrogate that waits for its low one
  std::string_view word_;    // the letters still to come
  LexemeKind word_kind_ = LexemeKind::kNull;
  std::string_view problem_;
};

}  // namespace irt
