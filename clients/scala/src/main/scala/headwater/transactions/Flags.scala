package headwater.transactions

import scopt.{OParser, OParserBuilder}

/** What both programs are told about where to find things. */
final case class Common(
    broker: String = "",
    registry: String = "",
    topic: String = "",
    timeoutS: Double = 30,
    extra: Map[String, String] = Map.empty,
    quiet: Boolean = false,
    summary: Option[String] = None
)

object Flags:
  /** The flags of both programs, for a parser of a program's own settings `C`. */
  def common[C](builder: OParserBuilder[C])(change: (C, Common => Common) => C): OParser[?, C] =
    import builder.*
    OParser.sequence(
      opt[String]('b', "broker")
        .required()
        .valueName("HOST:PORT")
        .action((x, c) => change(c, _.copy(broker = x)))
        .text("Kafka brokers to begin with, separated by commas"),
      opt[String]('s', "schema-registry")
        .required()
        .valueName("URL")
        .action((x, c) => change(c, _.copy(registry = x)))
        .text("the registry's API, NAME:PASSWORD@ before its host where it asks"),
      opt[String]('t', "topic")
        .required()
        .valueName("TOPIC")
        .action((x, c) => change(c, _.copy(topic = x)))
        .text("topic, which must be there"),
      opt[Double]("timeout")
        .valueName("S")
        .validate(x => if x > 0 && x <= 3600 then Right(()) else Left("--timeout: 0.001 to 3600 s"))
        .action((x, c) => change(c, _.copy(timeoutS = x)))
        .text("longest wait for broker or registry, in s [30]"),
      opt[String]('X', "property")
        .unbounded()
        .valueName("KEY=VALUE")
        .validate(x => if x.indexOf('=') > 0 then Right(()) else Left(s"-X: \"$x\" is not KEY=VALUE"))
        .action((x, c) =>
          change(c, common => common.copy(extra = common.extra + (x.takeWhile(_ != '=') -> x.drop(x.indexOf('=') + 1))))
        )
        .text("a setting of the Kafka client; may be given again"),
      opt[Unit]("quiet").action((_, c) => change(c, _.copy(quiet = true))).text("only problems and the end"),
      opt[String]("summary")
        .valueName("FILE")
        .action((x, c) => change(c, _.copy(summary = Some(x))))
        .text("write the end's figures as JSON"),
      help('h', "help").text("say this")
    )

  /** Parses, or says what is wrong. Help ends the program with 0 by scopt's own hand. */
  def parse[C](parser: OParser[?, C], args: Seq[String], start: C): C =
    OParser.parse(parser, args, start).getOrElse(throw Failure(Failure.Usage, "see --help"))
