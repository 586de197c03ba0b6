//! The numerics that the session knows, by name.
//!
//! The only place that uses the `irc` crate, for its vocabulary; the rest of it isn't for us (its parser loses
//! parameters, its writer passes control characters on).

use irc::proto::Response as R;

macro_rules! numerics {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => { $($(#[$doc])* pub const $name: u16 = $value;)* };
}

// Those that RFC 1459, 2812 or IRCv3 define.
numerics! {
    /// Registered; its first parameter is the nick we have.
    RPL_WELCOME = R::RPL_WELCOME as u16;
    /// The server's name and version.
    RPL_MYINFO = R::RPL_MYINFO as u16;
    /// What the server supports.
    RPL_ISUPPORT = R::RPL_ISUPPORT as u16;
    /// WHOIS: user and host.
    RPL_WHOISUSER = R::RPL_WHOISUSER as u16;
    /// WHOIS: the channels they are in.
    RPL_WHOISCHANNELS = R::RPL_WHOISCHANNELS as u16;
    /// That was all of WHOIS.
    RPL_ENDOFWHOIS = R::RPL_ENDOFWHOIS as u16;
    /// That was all of WHO.
    RPL_ENDOFWHO = R::RPL_ENDOFWHO as u16;
    /// A channel's settings.
    RPL_CHANNELMODEIS = R::RPL_CHANNELMODEIS as u16;
    /// A mask of an exception list (+e).
    RPL_EXCEPTLIST = R::RPL_EXCEPTLIST as u16;
    /// That was all of an exception list.
    RPL_ENDOFEXCEPTLIST = R::RPL_ENDOFEXCEPTLIST as u16;
    /// A mask of a ban list.
    RPL_BANLIST = R::RPL_BANLIST as u16;
    /// That was all of a ban list.
    RPL_ENDOFBANLIST = R::RPL_ENDOFBANLIST as u16;
    /// The channel has no topic.
    RPL_NOTOPIC = R::RPL_NOTOPIC as u16;
    /// The channel's topic.
    RPL_TOPIC = R::RPL_TOPIC as u16;
    /// Some of a channel's members.
    RPL_NAMREPLY = R::RPL_NAMREPLY as u16;
    /// That was all of a channel's members.
    RPL_ENDOFNAMES = R::RPL_ENDOFNAMES as u16;
    /// End of the message of the day: registration is over.
    RPL_ENDOFMOTD = R::RPL_ENDOFMOTD as u16;
    /// Our host as others see it has changed.
    RPL_HOSTHIDDEN = R::RPL_HOSTHIDDEN as u16;
    /// No such nick or channel.
    ERR_NOSUCHNICK = R::ERR_NOSUCHNICK as u16;
    /// No such server.
    ERR_NOSUCHSERVER = R::ERR_NOSUCHSERVER as u16;
    /// No such channel.
    ERR_NOSUCHCHANNEL = R::ERR_NOSUCHCHANNEL as u16;
    /// The channel doesn't take what was said.
    ERR_CANNOTSENDTOCHAN = R::ERR_CANNOTSENDTOCHAN as u16;
    /// In too many channels.
    ERR_TOOMANYCHANNELS = R::ERR_TOOMANYCHANNELS as u16;
    /// Too many, or ambiguous, targets.
    ERR_TOOMANYTARGETS = R::ERR_TOOMANYTARGETS as u16;
    /// No recipient given.
    ERR_NORECIPIENT = R::ERR_NORECIPIENT as u16;
    /// No text to send.
    ERR_NOTEXTTOSEND = R::ERR_NOTEXTTOSEND as u16;
    /// Bad server mask; also "message blocked" on some servers.
    ERR_BADMASK = R::ERR_BADMASK as u16;
    /// Unknown command.
    ERR_UNKNOWNCOMMAND = R::ERR_UNKNOWNCOMMAND as u16;
    /// There is no message of the day: registration is over.
    ERR_NOMOTD = R::ERR_NOMOTD as u16;
    /// That is no nick.
    ERR_ERRONEUSNICKNAME = R::ERR_ERRONEOUSNICKNAME as u16;
    /// The nick is taken.
    ERR_NICKNAMEINUSE = R::ERR_NICKNAMEINUSE as u16;
    /// The nick collides with one on another server.
    ERR_NICKCOLLISION = R::ERR_NICKCOLLISION as u16;
    /// The nick or channel is held back for a while.
    ERR_UNAVAILRESOURCE = R::ERR_UNAVAILRESOURCE as u16;
    /// They aren't in that channel.
    ERR_USERNOTINCHANNEL = R::ERR_USERNOTINCHANNEL as u16;
    /// We aren't in that channel.
    ERR_NOTONCHANNEL = R::ERR_NOTONCHANNEL as u16;
    /// Already in that channel.
    ERR_USERONCHANNEL = R::ERR_USERONCHANNEL as u16;
    /// Our host may not connect.
    ERR_NOPERMFORHOST = R::ERR_NOPERMFORHOST as u16;
    /// Wrong server password.
    ERR_PASSWDMISMATCH = R::ERR_PASSWDMISMATCH as u16;
    /// Banned from the server.
    ERR_YOUREBANNEDCREEP = R::ERR_YOUREBANNEDCREEP as u16;
    /// The channel is full.
    ERR_CHANNELISFULL = R::ERR_CHANNELISFULL as u16;
    /// The channel is invite-only.
    ERR_INVITEONLYCHAN = R::ERR_INVITEONLYCHAN as u16;
    /// Banned from the channel.
    ERR_BANNEDFROMCHAN = R::ERR_BANNEDFROMCHAN as u16;
    /// Wrong channel key.
    ERR_BADCHANNELKEY = R::ERR_BADCHANNELKEY as u16;
    /// That is no channel name.
    ERR_BADCHANMASK = R::ERR_BADCHANMASK as u16;
    /// The channel takes only registered users (RFC 2812 called it ERR_NOCHANMODES).
    ERR_NEEDREGGEDNICK = R::ERR_NOCHANMODES as u16;
    /// Operators only.
    ERR_NOPRIVILEGES = R::ERR_NOPRIVILEGES as u16;
    /// Channel operators only.
    ERR_CHANOPRIVSNEEDED = R::ERR_CHANOPRIVSNEEDED as u16;
    /// Logged in to an account.
    RPL_LOGGEDIN = R::RPL_LOGGEDIN as u16;
    /// The account may not be used from here.
    ERR_NICKLOCKED = R::ERR_NICKLOCKED as u16;
    /// SASL succeeded.
    RPL_SASLSUCCESS = R::RPL_SASLSUCCESS as u16;
    /// SASL failed.
    ERR_SASLFAIL = R::ERR_SASLFAIL as u16;
    /// A SASL message was too long.
    ERR_SASLTOOLONG = R::ERR_SASLTOOLONG as u16;
    /// SASL was aborted.
    ERR_SASLABORTED = R::ERR_SASLABORT as u16;
    /// The SASL mechanisms there are.
    RPL_SASLMECHS = R::RPL_SASLMECHS as u16;
}

// Those that servers have added since.
numerics! {
    /// The channel takes no colours.
    ERR_NOCOLORSONCHAN = 408;
    /// Our line was too long.
    ERR_INPUTTOOLONG = 417;
    /// WHOIS: their nick is registered, and they are logged in to it.
    RPL_WHOISREGNICK = 307;
    /// WHOIS: the account they are logged in to.
    RPL_WHOISACCOUNT = 330;
    /// An answer to WHO with fields of our choice (WHOX).
    RPL_WHOSPCRPL = 354;
    /// A mask of a quiet list (Solanum).
    RPL_QUIETLIST = 728;
    /// That was all of a quiet list (Solanum).
    RPL_ENDOFQUIETLIST = 729;
    /// Nick change refused: banned from a channel that we are in.
    ERR_BANNICKCHANGE = 435;
    /// Nick changes too fast.
    ERR_NICKTOOFAST = 438;
    /// New targets too fast.
    ERR_TARGETTOOFAST = 439;
    /// Newcomers of the channel are sent to another one.
    ERR_LINKCHANNEL = 470;
    /// Joins too fast, or TLS needed: the text says which.
    ERR_THROTTLE = 480;
    /// They take messages only from registered users.
    ERR_NONONREG = 486;
    /// TLS needed for the channel, or voice needed to speak.
    ERR_SECUREONLYCHAN = 489;
    /// The channel, or they, take no CTCP.
    ERR_NOCTCP = 492;
    /// Messages to them are blocked (Unreal).
    ERR_CANTSENDTOUSER = 531;
    /// Joins too fast (Unreal).
    ERR_TOOMANYJOINS = 500;
    /// The channel is for operators.
    ERR_OPERONLY = 520;
    /// They ignore whom they don't know (+g).
    ERR_TARGUMODEG = 716;
    /// New targets too fast (Solanum).
    ERR_TARGCHANGE = 707;
    /// The channel doesn't take one of the words (InspIRCd).
    ERR_WORDFILTERED = 936;
    /// SASL was already done.
    ERR_SASLALREADY = 907;
}
