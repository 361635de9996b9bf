package headwater.transactions

import scala.collection.mutable

/** What a `.proto` text in the registry says about its messages: which one an index path leads to.
  *
  * Only names and nesting are read. The registry has compiled the text, so that a parser of the whole language would
  * add nothing but its own faults.
  */
final class SchemaText private (packageName: String, messages: Map[List[Int], String]):
  /** Full name of the message at a path, such as "headwater.event.v1.Transaction". */
  def nameAt(indexes: List[Int]): Option[String] = messages.get(indexes).map(qualified)

  /** The path to a message, by its full name. */
  def indexesOf(fullName: String): Option[List[Int]] =
    messages.collectFirst { case (indexes, name) if qualified(name) == fullName => indexes }

  private def qualified(name: String) = if packageName.isEmpty then name else s"$packageName.$name"

object SchemaText:
  private val Word = """[A-Za-z_][A-Za-z0-9_.]*""".r
  // Comments and strings first: braces and words within them mean nothing.
  private val Token = """(?s)//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[A-Za-z_.][A-Za-z0-9_.]*|[^\s]""".r

  def parse(text: String): SchemaText =
    val tokens = Token.findAllIn(text).filterNot(t => t.startsWith("//") || t.startsWith("/*")).toVector
    val messages = mutable.Map.empty[List[Int], String]
    var packageName = ""
    // One entry for each open brace: the path and name of a message, or None for a block of another kind.
    var open = List.empty[Option[(List[Int], String)]]
    val counts = mutable.Map.empty[List[Int], Int].withDefaultValue(0)
    var at = 0
    while at < tokens.size do
      def token(ahead: Int) = tokens.lift(at + ahead).getOrElse("")
      val starts = at == 0 || Set(";", "{", "}")(tokens(at - 1))
      val parent = open.headOption.getOrElse(Some(Nil -> ""))
      (tokens(at), parent) match
        case ("package", _) if starts && open.isEmpty =>
          packageName = token(1)
          at += 1
        case ("message", Some((path, outer))) if starts && Word.matches(token(1)) && token(2) == "{" =>
          val indexes = path :+ counts(path)
          counts(path) += 1
          val name = if outer.isEmpty then token(1) else s"$outer.${token(1)}"
          messages(indexes) = name
          open = Some(indexes -> name) :: open
          at += 2
        // A map's entry is a message to the compiler, in the place of its field.
        case ("map", Some((path, _))) if starts && open.nonEmpty && token(1) == "<" => counts(path) += 1
        case ("{", _) => open = None :: open
        case ("}", _) => open = open.drop(1)
        case _ => ()
      at += 1
    SchemaText(packageName, messages.toMap)
